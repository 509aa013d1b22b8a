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


def _with_mask_and_copy() -> bytes:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GREY[::2, ::2], subfiletype=1)
        writer.write(GREY)
        writer.write(BITS > 0, subfiletype=4, photometric="minisblack")
    return buffer.getvalue()


def metamorph(planes: np.ndarray) -> bytes:
    """A MetaMorph stack: one directory, a tag that counts the planes, and the planes one after the other."""
    data = bytearray(tiff(planes[0], extratags=[(33629, 5, len(planes), [1] * 2 * len(planes), True)], metadata=None))
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages.first
    entry = next(at for at in range(page.offset + 2, len(data), 12) if data[at : at + 2] == struct.pack("<H", 273))
    struct.pack_into("<I", data, entry + 8, len(data))
    return bytes(data) + planes.tobytes()


EXACT |= {
    "tiff big": (tiff(RGB16, photometric="rgb", bigtiff=True, rowsperstrip=8), RGB16),
    "tiff big, big-endian": (tiff(GREY16, bigtiff=True, byteorder=">", tile=(16, 16)), GREY16),
    "tiff planes of RGB": (tiff(RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), RGB),
    "tiff planes of RGB 16": (
        tiff(RGB16.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", compression="zlib", rowsperstrip=16),
        RGB16,
    ),
    "tiff planes in tiles": (
        tiff(RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", tile=(16, 32)),
        RGB,
    ),
    "tiff zstd": (tiff(RGB, photometric="rgb", compression="zstd", rowsperstrip=8), RGB),
    "tiff lzw 16, predicted": (tiff(RGB16, photometric="rgb", compression="lzw", predictor=True), RGB16),
    "tiff jpeg 2000": (tiff(RGB, photometric="rgb", compression="jpeg2000", rowsperstrip=16), RGB),
    "tiff white is zero 16": (tiff(65535 - GREY16, photometric="miniswhite"), GREY16),
    "tiff rgba 16": (
        tiff(np.concatenate([RGB16, GREY16[:, :, None]], axis=2), photometric="rgb", extrasamples=["unassalpha"]),
        np.concatenate([RGB16, GREY16[:, :, None]], axis=2),
    ),
    "tiff grey and alpha 16": (
        tiff(np.stack([GREY16, GREY16 // 2], axis=2), photometric="minisblack", extrasamples=["unassalpha"]),
        np.stack([GREY16, GREY16, GREY16, GREY16 // 2], axis=2),
    ),
    "tiff rgb and a fourth sample": (tiff(RGBA, photometric="rgb", extrasamples=["unspecified"]), RGBA),
    "tiff rgb and two samples": (tiff(np.dstack([RGBA, GREY]), photometric="rgb", extrasamples=[0, 0]), RGB),
    "tiff palette of 8 bits": (
        tiff(
            GREY, photometric="palette", colormap=np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2])
        ),
        RGB,
    ),
    "tiff cmyk": (
        tiff(np.dstack([255 - RGB, np.zeros_like(GREY)]), photometric="separated", planarconfig="contig"),
        RGB,
    ),
    "tiff of pages, a mask and a copy": (
        _with_mask_and_copy(),
        GREY,
    ),
    "tiff metamorph": (metamorph(np.stack([GREY16, GREY16 // 2, GREY16 // 3])), GREY16),
}


LOSSY: dict[str, tuple[bytes, np.ndarray]] = {
    "jpeg grey": (pillow(SMOOTH[:, :, 0], "JPEG", quality=95), SMOOTH[:, :, 0]),
    "jpeg baseline": (pillow(SMOOTH, "JPEG", quality=95), SMOOTH),
    "jpeg progressive": (pillow(SMOOTH, "JPEG", quality=95, progressive=True), SMOOTH),
    "jpeg cmyk": (pillow(SMOOTH, "JPEG", "CMYK", quality=95), SMOOTH),
    "webp lossy": (pillow(SMOOTH, "WEBP", quality=95), SMOOTH),
    "tiff jpeg": (pillow(SMOOTH, "TIFF", compression="jpeg", quality=95), SMOOTH),
}


SIGNED = GREY16.astype(np.int32) - 30_000


WITHOUT_RANGE: dict[str, tuple[bytes, np.ndarray]] = {
    "tiff int8": (tiff((GREY.astype(np.int16) - 128).astype(np.int8)), GREY / 1.0),
    "tiff int16": (tiff(SIGNED.astype(np.int16)), SIGNED.astype(np.int16)),
    "tiff int32": (tiff(SIGNED * 50_000, compression="lzw"), SIGNED),
    "tiff uint32": (tiff(GREY16.astype(np.uint32) * 60_000), GREY16),
    "tiff float16": (tiff(GREY.astype(np.float16)), GREY),
    "tiff float32": (tiff(SIGNED.astype(np.float32) / 7, compression="zlib", predictor=True), SIGNED),
    "tiff float64": (tiff(SIGNED.astype(np.float64) * 1e300, byteorder=">"), SIGNED),
    "tiff float32 rgb": (tiff(RGB16.astype(np.float32), photometric="rgb", tile=(16, 16)), RGB16),
}
"""Pixels of types without a fixed range, and numbers in proportion to them."""


FILES = {name: data for name, (data, _) in (EXACT | LOSSY | WITHOUT_RANGE).items()}


# Their last byte belongs to no pixel of the first picture
LAST_BYTE_SPARE = {"tiff pages, first", "tiff grey deflate", "tiff packbits", "tiff of pages, a mask and a copy"}
LAST_BYTE_SPARE |= {"tiff lzw 16, predicted", "tiff int32"}  # the end mark of LZW
# Rows of these are padded to four bytes.
LAST_BYTE_SPARE |= {name for name in FILES if name.startswith("bmp")}


def small_tiff(*more: tuple[int, int, int, int], **changed: tuple[int, int]) -> bytes:
    """One grey pixel; tags as (number, type, count, value), those by name as (type, value)."""
    tags = {"width": (256, 4), "height": (257, 4), "bits": (258, 3), "compression": (259, 3), "photometric": (262, 3)}
    tags |= {"strips": (273, 4), "samples": (277, 3), "rows": (278, 4), "sizes": (279, 4)}
    values = {"bits": 8, "strips": 8}
    given = {number: changed.get(name, (kind, values.get(name, 1))) for name, (number, kind) in tags.items()}
    entries = [(number, kind, 1, value) for number, (kind, value) in given.items()]
    fields = b"".join(struct.pack("<HHII", *entry) for entry in sorted([*entries, *more]))
    return b"II*\0" + struct.pack("<IQH", 16, 77, len(entries) + len(more)) + fields + bytes(4)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def pages_of_sizes(*sizes: tuple[int, int]) -> bytes:
    first, *others = (Image.new("L", size, index) for index, size in enumerate(sizes))
    buffer = BytesIO()
    first.save(buffer, "TIFF", save_all=True, append_images=others, compression="tiff_adobe_deflate")
    return buffer.getvalue()


LARGE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8), (5, 5), 2)


INKS = {"mode": "CMYK"}
