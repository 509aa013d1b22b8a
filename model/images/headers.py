"""Headers of image files: format, size and pages, read before any decoder runs. This is the security boundary.

Pillow does not read the headers, because the sender of a file would choose the cost. 2000 tags of a TIFF of 1 MB that
all point at the same megabyte take 2 GB in libtiff; 2 MB of empty JPEG segments take a second in Pillow. This module
counts everything that can repeat in a file against a limit, and each step only looks at a few bytes.
"""

import struct
from dataclasses import dataclass, field

from model.images.bmp import bmp_size
from model.images.calibration import PixelSize
from model.images.dicom import DicomImage, can_read_dicom, is_dicom, read_dicom
from model.images.foreign import refusal
from model.images.image_errors import ImageError, UnsupportedImage, broken
from model.images.jpeg import jpeg_size
from model.images.png import png_size
from model.images.tiff_axes import Stack, read_stack
from model.images.tiff_pages import JPEG, read_pages
from model.images.webp import webp_is_lossy, webp_size

_SIZES = {"PNG": png_size, "JPEG": jpeg_size, "BMP": bmp_size, "WEBP": webp_size}

# First bytes of a file. What is not here never reaches a decoder.
_ACCEPTED = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"BM": "BMP",
}


@dataclass(frozen=True)
class Header:
    """The properties of an image file that are known before it is decoded."""

    format: str
    width: int
    height: int
    pages: int
    pixels: int
    """Pixels of all pages together, to reserve memory for: a pixel of more than 8 bytes counts several times.

    `width` and `height` are those of the first page.
    """
    lossy: str = ""
    """What compressed it and changed its pixels' values: "JPEG", in a TIFF too, or "lossy WebP"."""
    stack: Stack | None = field(default=None, repr=False, compare=False)
    """The pages, axes and pixel size of a TIFF file."""
    dicom: DicomImage | None = field(default=None, repr=False, compare=False)
    """The properties of a DICOM image."""

    @property
    def pixel_size(self) -> PixelSize | None:
        """None if the file does not say it."""
        source = self.stack or self.dicom
        return source.pixel_size if source else None

    @property
    def significant_bits(self) -> int:
        """Bits of a sample that the camera used; 0 if the file does not say it."""
        return self.stack.significant_bits if self.stack else self.dicom.bits if self.dicom else 0

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of channels that are pictures of their own; none if there is one, or colours."""
        return self.stack.channels if self.stack and len(self.stack.channels) > 1 else ()


def read_header(data: bytes) -> Header:
    """Reads format, size and page count without decoding. Raises ImageError, UnsupportedImage."""
    kind = format_of(data)
    try:
        if kind == "TIFF":
            return _tiff_header(read_stack(read_pages(data)))
        if kind == "DICOM":
            image = read_dicom(data)
            return Header(kind, image.width, image.height, image.frames, image.pixels, dicom=image)
        width, height = _SIZES[kind](data)
    except (struct.error, IndexError, OverflowError) as error:
        raise broken(kind) from error
    if width < 1 or height < 1:
        raise broken(kind)
    lossy = "JPEG" if kind == "JPEG" else "lossy WebP" if kind == "WEBP" and webp_is_lossy(data) else ""
    return Header(kind, width, height, 1, width * height, lossy=lossy)


def _tiff_header(stack: Stack) -> Header:
    pages = stack.pages
    lossy = "JPEG" if any(page.compression == JPEG for page in pages) else ""
    return Header("TIFF", *pages[0].size, len(stack.sections), stack.room, lossy, stack)


def format_of(data: bytes) -> str:
    """The name of the format, by the first bytes. Raises ImageError, UnsupportedImage."""
    if not data:
        raise ImageError("The file is empty.")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if is_dicom(data) and can_read_dicom():
        return "DICOM"
    message = refusal(data)
    for magic, kind in _ACCEPTED.items():
        if data.startswith(magic) and not message:  # DICOM may begin as TIFF
            return kind
    if message:
        raise UnsupportedImage(message)
    raise ImageError("The file is not an image: PNG, JPEG, TIFF, BMP and WebP are accepted.")
