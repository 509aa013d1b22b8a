"""Decodes image files that are held in memory.

Accepted: PNG, JPEG, TIFF, BMP and WebP; grey, RGB, RGBA and palette; 8 and 16 bits unsigned.
"""

import warnings
from io import BytesIO

import cv2
import numpy as np
import simplejpeg
from PIL import Image, TiffImagePlugin
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

from model.images.headers import Header, check_scans, png_pixels_only, read_header
from model.images.image_errors import ImageError, UnsupportedImage, broken
from model.images.tiff_pages import JPEG, tag_colours
from model.preprocessing import STORED, Pixels

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

# The pixel limit is the caller's, from the header; Pillow's own would warn, then raise, at sizes of its choice.
Image.MAX_IMAGE_PIXELS = None
# Pillow's own reader of TIFF leaves the pixels of missing strips black.
TiffImagePlugin.READ_LIBTIFF = True
warnings.filterwarnings("ignore", module=r"PIL\.")
# Its warnings are made of what is in the file, one for each unknown tag.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode_image(data: bytes) -> Pixels:
    """Decodes the first page of a file.

    A palette is resolved. A rotation in EXIF data is not applied, because a mask lies over the stored pixels. A TIFF's
    Orientation is applied, as decoders of TIFF do.

    Returns:
        The stored pixels, uint8 or uint16: H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA).

    Raises:
        ImageError: A part of the picture is missing.
        UnsupportedImage: The format, or a property of the file, is not accepted.
    """
    return _decode(data, read_header(data), 1)[0]


def decode_pages(data: bytes) -> list[Pixels]:
    """Decodes every page of a file, each as `decode_image` does. Raises ImageError, UnsupportedImage."""
    header = read_header(data)
    return _decode(data, header, header.pages)


def _decode(data: bytes, header: Header, count: int) -> list[Pixels]:
    """The first `count` pages."""
    try:
        if header.format == "TIFF":
            tagged = tag_colours(data)
            pages = _decode_tiff(tagged, count, header.pixels) if header.bits <= 8 else _decode_deep_tiff(tagged, count)
        elif header.format == "JPEG":
            pages = [_decode_jpeg(data)]
        else:
            pages = [_decode_by_opencv(png_pixels_only(data) if header.format == "PNG" else data)]
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # over broken files the decoders raise nearly anything
        raise broken(header.format) from error
    if len(pages) != count or pages[0].shape[:2] != (header.height, header.width):
        raise broken(header.format)
    return pages


def _decode_by_opencv(data: bytes) -> Pixels:
    """PNG, BMP, WebP. Raises ValueError, cv2.error."""
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise ValueError("imdecode gives nothing")
    return _as_rgb(stored)


def _decode_jpeg(data: bytes) -> Pixels:
    """Strictly: OpenCV and Pillow fill what they cannot read of a JPEG with grey. Raises ValueError."""
    check_scans(data)
    *_, colours, _ = simplejpeg.decode_jpeg_header(data)
    if colours in _INKS:
        simplejpeg.decode_jpeg(data, "CMYK")
        return _decode_by_opencv(data)
    pixels: Pixels = simplejpeg.decode_jpeg(data, "GRAY" if colours == "Gray" else "RGB")
    return pixels[:, :, 0] if colours == "Gray" else pixels


_INKS = ("CMYK", "YCCK")


def _decode_tiff(data: bytes, count: int, most_pixels: int) -> list[Pixels]:
    """Up to 8 bits: by Pillow, for OpenCV ignores what it cannot read of these, and multiplies colours by alpha."""
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
    """Reads each strip or tile of a page, for libtiff, too, fills what cannot be read with grey. Raises ValueError."""
    tables = tags.get(JPEGTABLES, b"")[:-2]  # an image without pixels: its end is left out, like the strip's beginning
    where = (STRIPOFFSETS, STRIPBYTECOUNTS) if STRIPOFFSETS in tags else (TILEOFFSETS, TILEBYTECOUNTS)
    for start, size in zip(*(tags[tag] for tag in where), strict=True):
        strip = tables + data[start + 2 * bool(tables) : start + size]
        check_scans(strip)
        height, width, colours, _ = simplejpeg.decode_jpeg_header(strip)
        if height * width > most_pixels:
            raise broken("TIFF")
        simplejpeg.decode_jpeg(strip, "CMYK" if colours in _INKS else "GRAY", min_factor=8)


# Pillow's modes for 8-bit TIFF, and those that they are given in.
_MODES = {"1": "L", "L": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "RGB": "RGB"}
_MODES |= {"RGBA": "RGBA", "LA": "RGBA", "PA": "RGBA"}


def _decode_deep_tiff(data: bytes, count: int) -> list[Pixels]:
    """Decodes 16 bits by OpenCV, because Pillow has no 16-bit colours."""
    _, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED, range=(0, count))
    return [_as_rgb(page) for page in pages]


def _as_rgb(stored: cv2.typing.MatLike) -> Pixels:
    """The decoder's pixels, channels in RGB order."""
    if stored.dtype not in STORED:
        raise UnsupportedImage(f"Pixels of type {stored.dtype} are not accepted: 8 or 16 bits unsigned are.")
    if stored.ndim == 2:
        return stored  # type: ignore[return-value]
    order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}[stored.shape[2]]
    return cv2.cvtColor(stored, order, dst=stored)  # type: ignore[return-value]
