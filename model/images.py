"""Image files as bytes in memory: what they claim to be, their pixels, and pixels back into PNG.

Accepted: PNG, JPEG, TIFF, BMP and WebP; grey, RGB, RGBA and palette; 8 and 16 bits unsigned.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLESPERPIXEL,
    TILELENGTH,
    TILEWIDTH,
    TiffImageFile,
)

from model.preprocessing import STORED, Pixels

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

# Looking through the pages takes Pillow time that grows with the square of their number; this many take a second.
MAX_PAGES = 4096

# First bytes of a file. What is not here never reaches a decoder.
_ACCEPTED = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"BM": "BMP",
}
_REFUSED = {
    b"GIF8": "GIF",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?R": "Radiance HDR",
    b"II+\x00": "BigTIFF",
    b"MM\x00+": "BigTIFF",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    **{b"P%d" % kind: "PNM" for kind in range(1, 8)},
}

# The pixel limit is the caller's, from the header; Pillow's own would warn, then raise, at sizes of its choice.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageError(ValueError):
    """Bytes that are no image, or a broken one. The message is fit for the person who sent them."""


class UnsupportedImage(ImageError):
    """An image, but of a kind that is not accepted."""


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before anything is decoded."""

    format: str
    width: int
    height: int
    pages: int
    pixels: int
    """To make room for, of all pages together: they may differ in size. `width` and `height` are the first one's."""


def read_header(data: bytes) -> Header:
    """Reads format, size and page count without decoding. Raises ImageError, UnsupportedImage."""
    kind = _format(data)
    try:
        with Image.open(BytesIO(data), formats=[kind]) as image:
            width, height = image.size
            sizes = _page_pixels(image) if isinstance(image, TiffImageFile) else [width * height]
    except UnsupportedImage:
        raise
    except Exception as error:  # over broken headers Pillow's parsers raise nearly anything
        raise ImageError(f"The {kind} file is broken or truncated.") from error
    return Header(kind, width, height, len(sizes), sum(sizes))


def _page_pixels(image: TiffImageFile) -> list[int]:
    """Pixels of each page; those of one of its tiles if that is larger, for the decoder makes room for a whole one."""
    sizes: list[int] = []
    try:
        while len(sizes) <= MAX_PAGES:
            image.seek(len(sizes))
            _check_page(image)
            tile = image.tag_v2.get(TILEWIDTH, 0) * image.tag_v2.get(TILELENGTH, 0)
            sizes.append(max(image.width * image.height, tile))
    except EOFError:
        return sizes
    raise UnsupportedImage(f"TIFF files of more than {MAX_PAGES} pages are not accepted.")


def _check_page(image: TiffImageFile) -> None:
    """Refuses the pages that OpenCV decodes wrongly without a word. Raises UnsupportedImage."""
    tags = image.tag_v2
    samples, bits = tags.get(SAMPLESPERPIXEL, 1), max(tags.get(BITSPERSAMPLE, (1,)))
    if samples > 1 and tags.get(PLANAR_CONFIGURATION, 1) == 2:
        raise UnsupportedImage("TIFF files that store their colour planes apart are not accepted.")
    if bits == 16 and tags.get(PHOTOMETRIC_INTERPRETATION) == 0:
        raise UnsupportedImage("TIFF files of 16 bits in which white is 0 are not accepted.")
    if image.mode == "RGBA" and image.n_frames > 1:
        raise UnsupportedImage("TIFF files of several pages with transparency are not accepted.")


def decode_image(data: bytes) -> Pixels:
    """The file's pixels as stored, uint8 or uint16: H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA).

    A palette is resolved, a rotation in the EXIF data is not applied: a mask lies over the pixels as they are stored.
    Raises ImageError if any part of the picture is missing, UnsupportedImage.
    """
    kind = _format(data)
    if kind == "PNG" and not _png_is_whole(data):
        raise ImageError("The PNG file is broken or truncated.")
    if kind == "TIFF" and (pixels := _decode_rgba_tiff(data)) is not None:
        return pixels
    try:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"The {kind} file is broken or truncated.") from error
    if stored is None:  # how imdecode says most of its errors
        raise ImageError(f"The {kind} file is broken or truncated.")
    return _as_rgb(stored)


def _decode_rgba_tiff(data: bytes) -> Pixels | None:
    """The pixels of an 8-bit TIFF with transparency, whose colours OpenCV would multiply by it; None for all others."""
    read_header(data)
    try:
        with Image.open(BytesIO(data), formats=["TIFF"]) as image:
            return np.array(image) if image.mode == "RGBA" else None
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError("The TIFF file is broken or truncated.") from error


def decode_pages(data: bytes) -> list[Pixels]:
    """Every page of the file, each as from `decode_image`. Raises ImageError, UnsupportedImage."""
    header = read_header(data)
    if header.pages == 1:
        return [decode_image(data)]
    try:
        whole, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"The {header.format} file is broken or truncated.") from error
    if not whole or len(pages) != header.pages:
        raise ImageError(f"The {header.format} file is broken or truncated.")
    return [_as_rgb(page) for page in pages]


def _png_is_whole(data: bytes) -> bool:
    """Whether every chunk lies inside the file: OpenCV allocates what a chunk claims, up to 4 GB, before it looks."""
    start = 8
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if data[start + 4 : start + 8] == b"IEND":
            return end <= len(data)
        start = end
    return False


def _as_rgb(stored: cv2.typing.MatLike) -> Pixels:
    """The decoder's pixels, channels in RGB order."""
    if stored.dtype not in STORED:
        raise UnsupportedImage(f"Pixels of type {stored.dtype} are not accepted: 8 or 16 bits unsigned are.")
    if stored.ndim == 2:
        return stored  # type: ignore[return-value]
    order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}[stored.shape[2]]
    return cv2.cvtColor(stored, order, dst=stored)  # type: ignore[return-value]


# Of zlib's strategies and PNG's filters, those that were both fastest and smallest, for masks (0.6 ms and 10 KB at
# 512 x 512 instead of 1.7 ms and 18 KB with OpenCV's own) and for 16-bit probabilities alike.
_PNG = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
]


def encode_png(pixels: Pixels) -> bytes:
    """H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA), uint8 or uint16 -> PNG bytes."""
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    stored = cv2.cvtColor(pixels, order[pixels.shape[2]]) if pixels.ndim == 3 else pixels
    _, encoded = cv2.imencode(".png", stored, _PNG)
    return encoded.tobytes()


def encode_tiff(pages: Sequence[Pixels]) -> bytes:
    """Pages of H x W (grey) or H x W x 3 (RGB), uint8 or uint16 -> the bytes of a TIFF, compressed without loss."""
    stored = [cv2.cvtColor(page, cv2.COLOR_RGB2BGR) if page.ndim == 3 else page for page in pages]
    _, encoded = cv2.imencodemulti(".tiff", stored, [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW])
    return encoded.tobytes()


def to_probability_image(probabilities: NDArray[np.float32]) -> NDArray[np.uint16]:
    """H x W in 0..1 -> H x W uint16, 65535 = 1.0, rounded."""
    levels: NDArray[np.uint16] = np.rint(probabilities * np.float32(65535)).astype(np.uint16)
    return levels


def _format(data: bytes) -> str:
    if not data:
        raise ImageError("The file is empty.")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for magic, kind in _ACCEPTED.items():
        if data.startswith(magic):
            return kind
    for magic, kind in _REFUSED.items():
        if data.startswith(magic):
            raise UnsupportedImage(f"{kind} is not accepted: PNG, JPEG, TIFF, BMP and WebP are.")
    raise ImageError("The file is not an image: PNG, JPEG, TIFF, BMP and WebP are accepted.")
