"""Decoding of TIFF files, page by page."""

from io import BytesIO

import numpy as np
from PIL.TiffImagePlugin import (
    COMPRESSION,
    JPEGTABLES,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILEOFFSETS,
    ImageFileDirectory_v2,
    TiffImageFile,
)

from model.images.headers import Header
from model.images.image_errors import UnsupportedImage
from model.images.jpeg import check_jpeg_part
from model.images.opencv import decode_pages_by_opencv
from model.images.tiff_pages import JPEG, tag_colours
from model.preprocessing import Pixels

# Pillow's modes for 8-bit TIFF, and those that they are given in.
_MODES = {"1": "L", "L": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "RGB": "RGB"}
_MODES |= {"RGBA": "RGBA", "LA": "RGBA", "PA": "RGBA"}


def decode_tiff(data: bytes, header: Header, count: int) -> list[Pixels]:
    """The first `count` pages. Raises ImageError, UnsupportedImage, and anything that decoders raise."""
    tagged = tag_colours(data)
    if header.bits > 8:
        return decode_pages_by_opencv(tagged, count)  # Pillow has no 16-bit colours
    return _decode_by_pillow(tagged, count, header.pixels)


def _decode_by_pillow(data: bytes, count: int, most_pixels: int) -> list[Pixels]:
    """Up to 8 bits; OpenCV ignores what it cannot read of these, and multiplies colours by alpha."""
    pages = []
    with TiffImageFile(BytesIO(data)) as image:
        for page in range(count):
            image.seek(page)
            if image.tag_v2.get(COMPRESSION) == JPEG:
                _check_jpegs(data, image.tag_v2, most_pixels)
            if image.mode not in _MODES:
                raise UnsupportedImage("TIFF files are accepted in grey, RGB, RGBA, CMYK or with a palette.")
            image.load()
            pages.append(np.array(image.convert(_MODES[image.mode])))
    return pages


def _check_jpegs(data: bytes, tags: ImageFileDirectory_v2, most_pixels: int) -> None:
    """Reads each strip or tile of a page, because libtiff fills what cannot be read with grey. Raises ValueError."""
    tables = tags.get(JPEGTABLES, b"")[:-2]  # an image without pixels: its end is left out, like the strip's beginning
    where = (STRIPOFFSETS, STRIPBYTECOUNTS) if STRIPOFFSETS in tags else (TILEOFFSETS, TILEBYTECOUNTS)
    for start, size in zip(*(tags[tag] for tag in where), strict=True):
        check_jpeg_part(tables + data[start + 2 * bool(tables) : start + size], most_pixels)
