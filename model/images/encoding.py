"""Encodes pixels as PNG and TIFF."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from model.images.calibration import PixelSize
from model.images.png import SIGNATURE, make_chunk
from model.images.tiff_axes import Plane
from model.inputs.preprocessing import Pixels

# PNG's numbers of its colour types, by the shape of a pixel, and of the filter that subtracts the row above.
_COLOUR_TYPES = {(): 0, (3,): 2, (4,): 6}
_UP = 2

# Bytes that are filtered at once: few enough for the processor's cache, and large images need no filtered copy.
_STRIPE_BYTES = 2**17


def encode_png(pixels: Pixels) -> bytes:
    """H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA), uint8 or uint16 -> PNG bytes."""
    height, width, *channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _COLOUR_TYPES[tuple(channels)], 0, 0, 0)
    compressed = [make_chunk(b"IDAT", part) for part in _compress(_filter(pixels)) if part]
    return b"".join([SIGNATURE, make_chunk(b"IHDR", header), *compressed, make_chunk(b"IEND", b"")])


def _compress(parts: Iterable[NDArray[np.uint8]]) -> Iterator[bytes]:
    """Yields a zlib stream of run lengths and Huffman codes, which were faster and smaller than other strategies."""
    compressor = zlib_ng.compressobj(strategy=zlib_ng.Z_RLE)
    yield from map(compressor.compress, parts)
    yield compressor.flush()


def _filter(pixels: Pixels) -> Iterator[NDArray[np.uint8]]:
    """Yields rows as PNG stores them: the number of the filter, then the bytes minus those of the row above."""
    width = pixels[0].nbytes
    count = max(1, _STRIPE_BYTES // width)
    above = np.zeros(width, np.uint8)
    for top in range(0, len(pixels), count):
        rows = _as_bytes(pixels[top : top + count])
        filtered = np.empty((len(rows), 1 + width), np.uint8)
        filtered[:, 0] = _UP
        np.subtract(rows[0], above, out=filtered[0, 1:])
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
        above = rows[-1]
        yield filtered


def _as_bytes(pixels: Pixels) -> NDArray[np.uint8]:
    """The bytes of each row; those of 16 bits in PNG's order, the higher one first."""
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">")).reshape(len(pixels), -1).view(np.uint8)


def encode_tiff(pages: Sequence[Pixels], places: Sequence[Plane] = (), pixel_size: PixelSize | None = None) -> bytes:
    """Encodes pages as a TIFF that is compressed without loss.

    Args:
        pages: H x W (grey) or H x W x 3 (RGB) each, uint8 or uint16.
        places: Section and time of each page, which are stored as ImageJ does.
        pixel_size: Stored as ImageJ does: ImageJ, Fiji, QuPath, tifffile and this service read it.
    """
    description = _imagej_description(places, pixel_size)
    size: dict[str, Any] = {}
    if pixel_size:
        size = {"resolution": (1 / pixel_size.x, 1 / pixel_size.y), "resolutionunit": "NONE"}
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for index, page in enumerate(pages):
            photometric = "rgb" if page.ndim == 3 else "minisblack"
            text = description if index == 0 else None
            options: dict[str, Any] = {"description": text, "metadata": None, "software": False, **size}
            writer.write(np.ascontiguousarray(page), photometric=photometric, compression="lzw", **options)
    return buffer.getvalue()


def _imagej_description(places: Sequence[Plane], pixel_size: PixelSize | None) -> str | None:
    """The text that ImageJ reads from a stack's first page; None if there is nothing to say."""
    times, sections = (len({getattr(place, axis) for place in places}) for axis in "tz")
    ordered = sorted(places, key=lambda place: (place.t, place.z)) == list(places)
    is_stack = len(places) > 1 and ordered and times * sections == len(places)
    if not (pixel_size or (is_stack and times > 1)):
        return None
    lines = ["ImageJ=1.54f"]
    if is_stack:
        lines += [f"images={len(places)}", f"slices={sections}", f"frames={times}", "hyperstack=true"]
    if pixel_size:
        lines += ["unit=micron", *([f"spacing={pixel_size.z:.9g}"] if pixel_size.z else [])]
    return "\n".join([*lines, "loop=false", ""])


def to_probability_image(probabilities: NDArray[np.float32]) -> NDArray[np.uint16]:
    """H x W in 0..1 -> H x W uint16, 65535 = 1.0, rounded."""
    levels: NDArray[np.uint16] = np.rint(probabilities * np.float32(65535)).astype(np.uint16)
    return levels
