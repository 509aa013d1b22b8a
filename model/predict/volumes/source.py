"""Volumes to be segmented: OME-Zarr (0.4 and 0.5), bare Zarr arrays, and TIFF files; read window by window.

Shape letters: T times, Z sections, C channels, H height, W width.
"""

import weakref
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from model.images.image_errors import ImageError, UnsupportedImage
from model.inputs.preprocessing import STORED
from model.predict.volumes.space import ORDER, Space, read_ome
from model.predict.volumes.tiff_volume import open_tiff

# Volumes that a process keeps open: reading the tags of thousands of pages takes seconds.
KEPT_OPEN = 4

# Of a number.
MOST_BYTES = 8


@dataclass(frozen=True)
class Box:
    """Part of a volume: [first, end) of sections, rows and columns at one time."""

    time: int
    sections: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def pixels(self) -> int:
        return int(np.prod([end - first for first, end in (self.sections, self.rows, self.columns)]))


class Volume:
    """An array whose windows can be read, by any number of threads at once."""

    def __init__(self, array: Any, space: Space, samples: bool = False, significant_bits: int = 0) -> None:
        """Checks that the array is a volume.

        Args:
            array: An object with shape, dtype, chunks and numpy's slices, axes as in `space`.
            space: The axes.
            samples: True if colours follow after the axes, as in TIFF.
            significant_bits: Bits of a value that the camera used; 0 if the file does not state them.

        Raises:
            UnsupportedImage: The axes, the type or the size are not accepted.
        """
        self.space, self._array = space, array
        self._names = (*space.names, *("s" * samples))
        self._check()
        lengths: dict[str, int] = dict(zip(self._names, array.shape, strict=True))
        self.times, self.sections, self.height, self.width = (int(lengths.get(name, 1)) for name in "tzyx")
        self.channels = int(lengths.get("c") or lengths.get("s") or 1)
        self.colours = samples
        """True if channels are colours, which can be converted to grey."""
        self.dtype: np.dtype[Any] = array.dtype.newbyteorder("=")
        """Any type of whole numbers or floating point of at most 64 bits."""
        self.significant_bits = significant_bits
        chunks = dict(zip(self._names, array.chunks, strict=True))
        self.chunk = tuple(min(chunks.get(name, 1), lengths.get(name, 1)) for name in "zyx")
        """Sections, rows and columns that are stored together, so that they are best read together."""

    def _check(self) -> None:
        """Raises UnsupportedImage."""
        names, shape, dtype = "".join(self._names), self._array.shape, self._array.dtype
        ordered = "".join(name for name in f"{ORDER}s" if name in names)
        if names != ordered or not names.removesuffix("s").endswith("yx") or ("c" in names and "s" in names):
            raise UnsupportedImage(f"Its axes are {names}, not some of {ORDER} in this order, y and x last.")
        if dtype.kind not in "uif" or dtype.itemsize > MOST_BYTES:
            accepted = "whole numbers of 8 to 64 bits and floating point of 16 to 64 bits"
            raise UnsupportedImage(f"Pixels of type {dtype} are not accepted, only {accepted}.")
        if 0 in shape:
            raise UnsupportedImage("It has no pixels.")

    @property
    def has_full_range(self) -> bool:
        """True if the type of the pixels is uint8 or uint16; all others must be stretched to 0..1."""
        return self.dtype in STORED

    @property
    def values_dtype(self) -> np.dtype[Any]:
        """The type of a net's input: that of the pixels, or float32 for those that are stretched."""
        return self.dtype if self.has_full_range else np.dtype(np.float32)

    def room(self, box: Box) -> int:
        """Pixels to reserve memory for: a pixel of more than 16 bits counts several times."""
        stretched = 0 if self.has_full_range else 2  # float32 beside the stored pixels
        return box.pixels * max(1, self.dtype.itemsize // 2 + stretched)

    def read(self, box: Box) -> NDArray[Any]:
        """The box's pixels, Z x H x W x C, of the stored type. Raises ImageError if they cannot be read."""
        parts = {"t": box.time, "z": slice(*box.sections), "y": slice(*box.rows), "x": slice(*box.columns)}
        try:
            pixels = np.asarray(self._array[tuple(parts.get(name, slice(None)) for name in self._names)], self.dtype)
        except MemoryError:
            raise
        except Exception as error:  # over broken files codecs raise nearly anything
            raise ImageError(f"The volume cannot be read: {str(error).partition(chr(10))[0]}") from error
        if "c" in self._names:
            pixels = np.moveaxis(pixels, self._names.index("c") - ("t" in self._names), -1)
        elif "s" not in self._names:
            pixels = pixels[..., None]
        return pixels if "z" in self._names else pixels[None]


def open_volume(path: Path) -> Volume:
    """A Zarr folder or a TIFF file. Raises ImageError, UnsupportedImage, OSError."""
    stored = next((path / name for name in ("zarr.json", ".zattrs") if (path / name).exists()), path)
    return _open(path, stored.stat().st_mtime_ns)


@lru_cache(KEPT_OPEN)
def _open(path: Path, _changed_ns: int) -> Volume:
    if path.is_dir():
        return _open_zarr(path)
    tiff = open_tiff(path)
    volume = Volume(tiff.array, tiff.space, tiff.samples, tiff.significant_bits)
    weakref.finalize(volume, tiff.close)
    return volume


def _open_zarr(path: Path) -> Volume:
    try:
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Array):
            return Volume(node, Space.plain(_axes_of(node)))
        child, _ = read_ome(node.attrs.asdict(), len(ORDER))
        array = node[child]
        if not isinstance(array, zarr.Array):
            raise UnsupportedImage(f"{child} in it is no array.")
        return Volume(array, read_ome(node.attrs.asdict(), array.ndim)[1])
    except (ImageError, OSError, MemoryError):
        raise
    except Exception as error:  # over broken metadata zarr raises nearly anything
        raise ImageError("The Zarr folder is broken, or not an image by OME-NGFF 0.4 or 0.5.") from error


def _axes_of(array: "zarr.Array[Any]") -> tuple[str, ...]:
    """The axes' names, where the array has them; else the last ones of z, y, x or of all five."""
    names = getattr(array.metadata, "dimension_names", None) or ()
    if names and all(name in (*ORDER,) for name in names):
        return tuple(map(str, names))
    return tuple(ORDER[-array.ndim :])
