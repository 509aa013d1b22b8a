"""Decodes image files that are held in memory.

Accepted: PNG, JPEG, TIFF, BMP and WebP; grey, RGB, RGBA and palette; 8 and 16 bits unsigned.
"""

import warnings
from dataclasses import dataclass
from functools import cache

import cv2
from PIL import Image, TiffImagePlugin

from model.images.bmp import decode_bmp
from model.images.headers import Header, read_header
from model.images.image_errors import ImageError, broken
from model.images.jpeg import decode_jpeg
from model.images.opencv import decode_by_opencv
from model.images.png import decode_png
from model.images.tiff import decode_tiff
from model.preprocessing import Pixels

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


@dataclass(frozen=True)
class ImageFile:
    """An image file in memory, whose header has been checked; no pixels are decoded yet."""

    data: bytes
    header: Header

    @classmethod
    def read(cls, data: bytes) -> "ImageFile":
        """Reads the header. Raises ImageError, UnsupportedImage."""
        return cls(data, read_header(data))

    def first_page(self) -> Pixels:
        """Decodes the first page.

        A palette is resolved. A rotation in EXIF data is not applied, because a mask lies over the stored pixels. A
        TIFF's Orientation is applied, as decoders of TIFF do.

        Returns:
            The stored pixels, uint8 or uint16: H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA).

        Raises:
            ImageError: A part of the picture is missing.
            UnsupportedImage: A property of the file is not accepted.
        """
        return self._decode(1)[0]

    def pages(self) -> list[Pixels]:
        """Decodes every page, each as `first_page` does. Raises ImageError, UnsupportedImage."""
        return self._decode(self.header.pages)

    def _decode(self, count: int) -> list[Pixels]:
        """The first `count` pages."""
        configure_decoders()
        header = self.header
        try:
            pages = self._decode_as(header.format, count)
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # over broken files the decoders raise nearly anything
            raise broken(header.format) from error
        if len(pages) != count or pages[0].shape[:2] != (header.height, header.width):
            raise broken(header.format)
        return pages

    def _decode_as(self, kind: str, count: int) -> list[Pixels]:
        match kind:
            case "TIFF":
                return decode_tiff(self.data, self.header, count)
            case "JPEG":
                return [decode_jpeg(self.data)]
            case "PNG":
                return [decode_png(self.data)]
            case "BMP":
                return [decode_bmp(self.data)]
        return [decode_by_opencv(self.data)]


def decode_image(data: bytes) -> Pixels:
    """Decodes the first page of a file, as `ImageFile.first_page` does. Raises ImageError, UnsupportedImage."""
    return ImageFile.read(data).first_page()


def decode_pages(data: bytes) -> list[Pixels]:
    """Decodes every page of a file, as `ImageFile.pages` does. Raises ImageError, UnsupportedImage."""
    return ImageFile.read(data).pages()


@cache
def configure_decoders() -> None:
    """Sets options of Pillow and OpenCV for the whole process. Decoding calls this, importing does not."""
    # The pixel limit is the caller's, from the header; Pillow's own would warn, then raise, at sizes of its choice.
    Image.MAX_IMAGE_PIXELS = None
    # Pillow's own reader of TIFF leaves the pixels of missing strips black.
    TiffImagePlugin.READ_LIBTIFF = True
    # Warnings of both contain text from the file, one for each unknown tag.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
