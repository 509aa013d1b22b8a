"""Decodes image files that are held in memory.

Accepted: PNG, JPEG, TIFF, BMP and WebP; grey, RGB, RGBA and palette; 8 and 16 bits unsigned. TIFF also holds other
whole numbers, floating point, channels and stacks.
"""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from model.images.bmp import decode_bmp
from model.images.channels import COLOURS, find_channel
from model.images.dicom import can_read_dicom, decode_dicom
from model.images.headers import Header, read_header
from model.images.image_errors import ImageError, broken
from model.images.jpeg import decode_jpeg
from model.images.opencv import decode_by_opencv
from model.images.png import decode_png
from model.images.tiff import decode_tiff
from model.images.tiff_axes import Plane
from model.images.value_range import to_values
from model.inputs.preprocessing import Values

TIFF_SUFFIXES = (".tif", ".tiff", ".stk", ".lsm", ".btf", ".tf8")
SUFFIXES = (".png", ".jpg", ".jpeg", *TIFF_SUFFIXES, ".bmp", ".webp", *([".dcm"] if can_read_dicom() else []))


@dataclass(frozen=True)
class Decoded:
    """The pages of a file.

    Attributes:
        pages: H x W (grey), H x W x 3 (RGB), H x W x 4 (RGBA) or H x W x C (channels); uint8, uint16, or float32 whose
            range is 0..1.
        planes: The place of each page on the axes of a TIFF file; none for other formats.
        value_range: The lowest and highest value in the file of pixels that became float32; None for all others.
    """

    pages: list[Values]
    planes: list[Plane]
    value_range: tuple[float, float] | None


@dataclass(frozen=True)
class ImageFile:
    """An image file in memory, whose header has been checked; no pixels are decoded yet."""

    data: bytes
    header: Header

    @classmethod
    def read(cls, data: bytes) -> "ImageFile":
        """Reads the header. Raises ImageError, UnsupportedImage."""
        return cls(data, read_header(data))

    def first_page(self) -> Values:
        """Decodes the first page, as `decode` does. Raises ImageError, UnsupportedImage."""
        return self._decode(1, "", 1).pages[0]

    def pages(self) -> list[Values]:
        """Decodes every page, as `decode` does. Raises ImageError, UnsupportedImage."""
        return self.decode().pages

    def decode(self, channel: str = "", channels: int = 1) -> Decoded:
        """Decodes every page.

        A palette is resolved. A rotation in EXIF data is not applied, because a mask lies over the stored pixels. A
        TIFF's Orientation is applied, as decoders of TIFF do.

        Args:
            channel: Number or name of the channel to return, also of RGB ("red"). "" for the first channel of a file
                that has several, and for all colours of RGB.
            channels: Number of channels that the net takes together. A file with just as many gives H x W x C.

        Raises:
            ImageError: A part of the picture is missing.
            UnsupportedImage: A property of the file is not accepted.
            NoSuchChannel: The file does not have the channel.
        """
        return self._decode(self.header.pages, channel, channels)

    def takes_first(self, channel: str = "", channels: int = 1) -> bool:
        """True if `decode` with these arguments returns the first of several channels because none was chosen."""
        return not channel and len(self.header.channels) not in (0, channels)

    def stored_pages(self, channel: int = 0) -> list[NDArray[Any]]:
        """Decodes a channel of every page without changing its type. Raises ImageError, UnsupportedImage."""
        return self._decode_planes(self.header.pages, [channel])[0]

    def _decode(self, count: int, channel: str, channels: int) -> Decoded:
        """The first `count` pages."""
        names = self.header.channels
        together = not channel and len(names) == channels
        wanted = range(len(names)) if together else [find_channel(channel, names) if channel and names else 0]
        converted = [to_values(planes) for planes in self._decode_planes(count, wanted)]
        pages = [_together(planes) for planes in zip(*(pages for pages, _ in converted), strict=True)]
        if channel and not names:
            pages = [_channel_of_colours(page, channel) for page in pages]
        planes = self.header.stack.planes_of(wanted[0])[:count] if self.header.stack else []
        return Decoded(pages, planes, next((bounds for _, bounds in converted if bounds), None))

    def _decode_planes(self, count: int, channels: Sequence[int]) -> list[list[NDArray[Any]]]:
        """The first `count` pages of each channel, H x W or H x W x 3 or 4, of the stored type."""
        configure_decoders()
        header = self.header
        try:
            found = [self._decode_as(header.format, count, channel) for channel in channels]
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # over broken files the decoders raise nearly anything
            raise broken(header.format) from error
        if any(len(pages) != count or pages[0].shape[:2] != (header.height, header.width) for pages in found):
            raise broken(header.format)
        return found

    def _decode_as(self, kind: str, count: int, channel: int) -> list[NDArray[Any]]:
        match kind:
            case "TIFF" if self.header.stack:
                return decode_tiff(self.header.stack.pages, self.header.stack.planes_of(channel)[:count])
            case "DICOM" if self.header.dicom:
                return decode_dicom(self.data, self.header.dicom, count)
            case "JPEG":
                return [decode_jpeg(self.data)]
            case "PNG":
                return [decode_png(self.data)]
            case "BMP":
                return [decode_bmp(self.data)]
        return [decode_by_opencv(self.data)]


def _together(planes: Sequence[Values]) -> Values:
    """One page of H x W x C from its channels."""
    return planes[0] if len(planes) == 1 else cast(Values, np.stack(planes, axis=-1))


def _channel_of_colours(page: Values, channel: str) -> Values:
    """One of the colours of a page, or the page itself if it is grey. Raises NoSuchChannel."""
    if page.ndim == 2:
        find_channel(channel, ("0",))
        return page
    return cast(Values, np.ascontiguousarray(page[:, :, find_channel(channel, COLOURS)]))


def decode_image(data: bytes) -> Values:
    """Decodes the first page of a file, as `ImageFile.first_page` does. Raises ImageError, UnsupportedImage."""
    return ImageFile.read(data).first_page()


def decode_pages(data: bytes) -> list[Values]:
    """Decodes every page of a file, as `ImageFile.pages` does. Raises ImageError, UnsupportedImage."""
    return ImageFile.read(data).pages()


@cache
def configure_decoders() -> None:
    """Sets options of Pillow and OpenCV for the whole process. Decoding calls this, importing does not."""
    # The pixel limit is the caller's, from the header; Pillow's own would warn, then raise, at sizes of its choice.
    Image.MAX_IMAGE_PIXELS = None
    # Pillow's own reader of TIFF leaves the pixels of missing strips black.
    TiffImagePlugin.READ_LIBTIFF = True
    # tifffile's messages are about tags, which the service's log must not contain.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    logging.getLogger("tifffile").propagate = False
    # Warnings of both contain text from the file, one for each unknown tag.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
