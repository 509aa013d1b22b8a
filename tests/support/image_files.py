"""Image files of every accepted kind, with the pixels that they hold."""

import struct
import zlib
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

H, W = 37, 53


_rows, _columns = np.mgrid[:H, :W]


GREY = ((5 * _rows + 3 * _columns) % 256).astype(np.uint8)


RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


RGBA = np.concatenate([RGB, ((7 * _rows + _columns) % 256).astype(np.uint8)[:, :, None]], axis=-1)


OPAQUE = np.concatenate([RGB, np.full((H, W, 1), 255, np.uint8)], axis=-1)


GREY16 = (_rows * 1201 + _columns * 607).astype(np.uint16)


RGB16 = np.stack([GREY16, 65535 - GREY16, GREY16 // 3], axis=-1)


BITS = ((_rows // 4 + _columns // 3) % 2 * 255).astype(np.uint8)


SMOOTH = np.stack([_rows * 5, _columns * 4, 255 - _rows * 5], axis=-1).astype(np.uint8)
"""Without edges, so that lossy formats keep it."""


def pillow(pixels: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(pixels)
    buffer = BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def opencv(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels[:, :, ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


def palette(kind: str, **options: object) -> tuple[bytes, np.ndarray]:
    image = Image.fromarray(RGB).quantize(64)
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue(), np.asarray(image.convert("RGB"))


GREY_ALPHA = np.stack([GREY, GREY, GREY, RGBA[:, :, 3]], axis=-1)


EXACT: dict[str, tuple[bytes, np.ndarray]] = {
    "png grey": (pillow(GREY, "PNG"), GREY),
    "png rgb": (pillow(RGB, "PNG"), RGB),
    "png rgba": (pillow(RGBA, "PNG"), RGBA),
    "png palette": palette("PNG"),
    "png 1 bit": (pillow(BITS, "PNG", "1"), BITS),
    "png grey and alpha": (pillow(np.stack([GREY, RGBA[:, :, 3]], axis=-1), "PNG"), GREY_ALPHA),
    "png grey 16": (opencv(".png", GREY16), GREY16),
    "png rgb 16": (opencv(".png", RGB16), RGB16),
    "png animated, first": (pillow(RGB, "PNG", save_all=True, append_images=[Image.fromarray(255 - RGB)]), RGB),
    "tiff grey": (tiff(GREY), GREY),
    "tiff grey 16": (tiff(GREY16), GREY16),
    "tiff grey 16 big-endian": (tiff(GREY16, byteorder=">"), GREY16),
    "tiff grey 16 tiled": (tiff(GREY16, tile=(16, 16)), GREY16),
    "tiff rgb": (tiff(RGB, photometric="rgb"), RGB),
    "tiff rgb 16": (tiff(RGB16, photometric="rgb"), RGB16),
    "tiff rgb lzw": (pillow(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "tiff grey deflate": (pillow(GREY, "TIFF", compression="tiff_adobe_deflate"), GREY),
    "tiff rgba, opaque": (tiff(OPAQUE, photometric="rgb", extrasamples=["unassalpha"]), OPAQUE),
    "tiff palette": palette("TIFF"),
    "tiff 1 bit": (pillow(BITS, "TIFF", "1"), BITS),
    "tiff packbits": (tiff(GREY, compression="packbits"), GREY),
    "tiff pages, first": (tiff(np.stack([GREY, 255 - GREY])), GREY),
    "tiff white is zero": (tiff(255 - GREY, photometric="miniswhite"), GREY),
    "bmp grey": (pillow(GREY, "BMP"), GREY),
    "bmp rgb": (pillow(RGB, "BMP"), RGB),
    "bmp palette": palette("BMP"),
    "bmp 1 bit": (pillow(BITS, "BMP", "1"), BITS),
    "webp rgb": (pillow(RGB, "WEBP", lossless=True), RGB),
    "webp rgba": (pillow(RGBA, "WEBP", lossless=True, exact=True), RGBA),
    "webp animated, first": (
        pillow(RGB, "WEBP", lossless=True, save_all=True, append_images=[Image.fromarray(255 - RGB)]),
        RGB,
    ),
}


LOSSY: dict[str, tuple[bytes, np.ndarray]] = {
    "jpeg grey": (pillow(SMOOTH[:, :, 0], "JPEG", quality=95), SMOOTH[:, :, 0]),
    "jpeg baseline": (pillow(SMOOTH, "JPEG", quality=95), SMOOTH),
    "jpeg progressive": (pillow(SMOOTH, "JPEG", quality=95, progressive=True), SMOOTH),
    "jpeg cmyk": (pillow(SMOOTH, "JPEG", "CMYK", quality=95), SMOOTH),
    "webp lossy": (pillow(SMOOTH, "WEBP", quality=95), SMOOTH),
    "tiff jpeg": (pillow(SMOOTH, "TIFF", compression="jpeg", quality=95), SMOOTH),
}


FILES = {name: data for name, (data, _) in (EXACT | LOSSY).items()}


# Their last byte belongs to no pixel of the first picture
LAST_BYTE_SPARE = {"tiff pages, first", "tiff grey deflate", "tiff packbits"}
# Rows of these are padded to four bytes.
LAST_BYTE_SPARE |= {name for name in FILES if name.startswith("bmp")}


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def pages_of_sizes(*sizes: tuple[int, int]) -> bytes:
    first, *others = (Image.new("L", size, index) for index, size in enumerate(sizes))
    buffer = BytesIO()
    first.save(buffer, "TIFF", save_all=True, append_images=others, compression="tiff_adobe_deflate")
    return buffer.getvalue()


LARGE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8), (5, 5), 2)


INKS = {"mode": "CMYK"}
