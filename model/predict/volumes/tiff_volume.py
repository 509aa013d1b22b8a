"""TIFF files as arrays that are read strip by strip or tile by tile; those that cannot be are mapped into memory.

Decoders differ in palettes, in pages where white is 0, and in turned pages; `model.images` reads such files.
"""

import logging
import threading
import xml.etree.ElementTree as ET  # expat expands nothing from outside; its bombs are bounded since 2.4.1
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import tifffile
import zarr

from model.images.calibration import LARGEST, MICROMETRE, SMALLEST, to_micrometres
from model.images.image_errors import ImageError, UnsupportedImage, broken
from model.images.tiff_axes import RESOLUTION_UNITS, is_of_screen
from model.predict.volumes.space import Space

# What it has to say of odd tags is for people who write TIFF files.
_LOGGER = logging.getLogger("tifffile")
_LOGGER.addHandler(logging.NullHandler())

MOST_COMPLAINTS = 1000

_COLOURS = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
# What OME-NGFF calls the units of OME-TIFF; other lengths are given in micrometres.
_UNITS = {"nm": "nanometer", "mm": "millimeter", "pm": "picometer", "Å": "angstrom", "m": "meter"}


class _Mapped:
    """An array in a file, memory-mapped, so that it can be planned as if it were stored in small chunks."""

    def __init__(self, array: Any, samples: bool) -> None:
        self._array, self.shape, self.dtype = array, array.shape, array.dtype
        rows = len(self.shape) - 2 - samples
        self.chunks = (*(1 for _ in self.shape[:rows]), 1024, 1024, *self.shape[rows + 2 :])

    def __getitem__(self, index: Any) -> Any:
        return self._array[index]


@dataclass(frozen=True)
class OpenTiff:
    """An open TIFF file.

    Attributes:
        array: All pages.
        space: The axes of the array without samples.
        samples: True if the last axis of the array is samples.
        significant_bits: Bits of a value that the camera used, from OME metadata; 0 if they are not stated.
        close: Closes the file.
    """

    array: Any
    space: Space
    samples: bool
    significant_bits: int
    close: Callable[[], None]


def open_tiff(path: Path) -> OpenTiff:
    """Opens a file as a volume. Raises ImageError, UnsupportedImage, OSError."""
    file = None
    try:
        with _complaints_raised():
            file = tifffile.TiffFile(path)
            return _read(file, path)
    except Exception as error:
        if file:
            file.close()
        if isinstance(error, ImageError | OSError | MemoryError):
            raise
        raise broken("TIFF") from error  # over broken files it raises nearly anything


@contextmanager
def _complaints_raised() -> Iterator[None]:
    """Raises ImageError for missing pages, which tifffile only logs."""
    handler = BufferingHandler(MOST_COMPLAINTS)
    handler.setLevel(logging.ERROR)
    _LOGGER.addHandler(handler)
    try:
        yield
    finally:
        _LOGGER.removeHandler(handler)
    if any(record.thread == threading.get_ident() for record in handler.buffer):
        raise broken("TIFF")


def _read(file: tifffile.TiffFile, path: Path) -> OpenTiff:
    series = _only_series(file)
    axes = _axes(series.axes)
    samples = axes[-1:] == ["s"]
    if series.dataoffset is not None:
        array: Any = _Mapped(tifffile.memmap(path, mode="r", series=0), samples)
    else:
        array = zarr.open_array(series.aszarr(level=0), mode="r", zarr_format=2)
    ome = _pixels_of_ome(file.ome_metadata) if file.ome_metadata else {}
    space = _space(file, axes[:-1] if samples else axes, ome)
    return OpenTiff(array, space, samples, int(ome.get("SignificantBits", 0)), file.close)


def _only_series(file: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """Raises UnsupportedImage."""
    if len(file.series) != 1:
        raise UnsupportedImage("A TIFF volume has pages of one size and type, without others beside them.")
    series = file.series[0]
    page = series.keyframe
    turned = page.tags.valueof("Orientation", 1) != 1
    if page.photometric not in _COLOURS or turned or page.bitspersample % 8 or page.planarconfig != 1:
        raise UnsupportedImage("TIFF volumes are accepted in grey or RGB, pixel by pixel, white the largest number.")
    return series


def _axes(axes: str) -> list[str]:
    """Tifffile's letters as ours: what is neither time nor channel nor sample nor in the section counts sections."""
    names = [axis.lower() if axis in "TCZYXS" else "z" for axis in axes]
    if names.count("z") > 1:
        raise UnsupportedImage(f"Its axes are {axes}, and only time, channel and section are known beside Y and X.")
    return names


def _space(file: tifffile.TiffFile, names: list[str], ome: Mapping[str, str]) -> Space:
    """With the pixel's size, where OME-TIFF, ImageJ or the resolution tags tell it, as for images."""
    sizes = _sizes_by_ome(ome) if ome else _sizes_by_resolution(file)
    plain = Space.plain(names)
    details = tuple(
        {**details, **({"unit": sizes[name][1]} if name in sizes and sizes[name][1] else {})}
        for name, details in zip(names, plain.details, strict=True)
    )
    return Space(plain.names, details, tuple(sizes[name][0] if name in sizes else 1.0 for name in names))


def _pixels_of_ome(text: str) -> Mapping[str, str]:
    """The attributes of the first Pixels element; none if there is no such element."""
    pixels = next((node for node in ET.fromstring(text).iter() if node.tag.endswith("}Pixels")), None)  # noqa: S314
    return {} if pixels is None else pixels.attrib


def _sizes_by_ome(known: Mapping[str, str]) -> dict[str, tuple[float, str]]:
    across = known.get("PhysicalSizeXUnit", MICROMETRE)
    units = {"x": across, "y": known.get("PhysicalSizeYUnit", across), "z": known.get("PhysicalSizeZUnit", MICROMETRE)}
    return {
        axis: size
        for axis in "zyx"
        if (text := known.get(f"PhysicalSize{axis.upper()}")) and (size := _size(float(text), units[axis]))
    }


def _sizes_by_resolution(file: tifffile.TiffFile) -> dict[str, tuple[float, str]]:
    """Resolution tags count in the unit that ImageJ names, else in inches or centimetres."""
    known, tags = file.imagej_metadata or {}, file.series[0].keyframe.tags
    ratios = {axis: tags.valueof(f"{axis.upper()}Resolution") for axis in "yx"}
    lengths = {axis: pair[1] / pair[0] for axis, pair in ratios.items() if pair and pair[0]}
    unit = str(known.get("unit", "")).replace("\\u00B5", "\u00b5")
    if not to_micrometres(1.0, unit):
        unit = RESOLUTION_UNITS.get(int(tags.valueof("ResolutionUnit", 2)), "")
        known = {}
    if len(lengths) < 2 or is_of_screen(lengths["x"], lengths["y"], unit):
        return {}
    lengths |= {"z": float(known["spacing"])} if "spacing" in known else {}
    return {axis: size for axis, length in lengths.items() if (size := _size(length, unit))}


def _size(length: float, unit: str) -> tuple[float, str] | None:
    """Returns a length and its unit by OME-NGFF; None for an unknown unit, or no size that a pixel can have."""
    micrometres = to_micrometres(length, unit)
    if not SMALLEST <= micrometres <= LARGEST:
        return None
    return (length, _UNITS[unit]) if unit in _UNITS else (micrometres, "micrometer")
