"""An image file of each format and kind that the service knows, and of some that it refuses."""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

from model.inputs.preprocessing import Pixels
from tests.support.image_files import metamorph

H, W = 45, 61
_RANDOM = np.random.default_rng(0)
_rows, _columns = np.mgrid[:H, :W]
GREY = ((3 * _rows + 2 * _columns) % 256 // 8 * 8 + _RANDOM.integers(0, 6, (H, W))).astype(np.uint8)
RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
RGBA = np.concatenate([RGB, GREY[::-1, :, None]], axis=-1)
GREY16 = (GREY.astype(np.uint16) << 8) + _RANDOM.integers(0, 256, (H, W), np.uint16)
RGB16 = np.stack([GREY16, 65535 - GREY16, GREY16 // 3], axis=-1)
BITS = GREY > 127


def make_corpus() -> dict[str, bytes]:
    """Files by `<kind>.<suffix>`."""
    return _pngs() | _jpegs() | _tiffs() | _bmps() | _webps() | _refused()


def _pillow(pixels: Any, kind: str, mode: str | None = None, **options: Any) -> bytes:
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def _frames() -> list[Image.Image]:
    return [Image.fromarray(255 - RGB), Image.fromarray(RGB[::-1])]


def _pngs() -> dict[str, bytes]:
    return {
        "grey.png": _pillow(GREY, "PNG"),
        "rgb.png": _pillow(RGB, "PNG", dpi=(300, 300)),
        "rgba.png": _pillow(RGBA, "PNG"),
        "grey-alpha.png": _pillow(RGBA, "PNG", "LA"),
        "palette.png": _pillow(RGB, "PNG", "P", transparency=3),
        "one-bit.png": _pillow(BITS, "PNG", "1"),
        "grey-16.png": cv2.imencode(".png", GREY16)[1].tobytes(),
        "rgb-16.png": cv2.imencode(".png", RGB16)[1].tobytes(),
        "animated.png": _pillow(RGB, "PNG", save_all=True, append_images=_frames()),
        "interlaced.png": _interlaced(GREY),
    }


def _interlaced(grey: Pixels) -> bytes:
    """Adam7, which neither Pillow nor OpenCV write."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [row for y, x, down, right in passes for row in grey[y::down, x::right] if row.size]
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 1)
    chunks = (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _jpegs() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "grey.jpg": _pillow(GREY, "JPEG"),
        "baseline.jpg": _pillow(RGB, "JPEG", exif=exif),
        "full-chroma.jpg": _pillow(RGB, "JPEG", subsampling=0, optimize=True),
        "progressive.jpg": _pillow(RGB, "JPEG", progressive=True),
        "restarts.jpg": _pillow(RGB, "JPEG", restart_marker_blocks=2),
        "cmyk.jpg": _pillow(RGB, "JPEG", "CMYK"),
    }


def _tiff(pixels: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def _tiffs() -> dict[str, bytes]:
    rgb: dict[str, Any] = {"photometric": "rgb"}
    return {
        "strips.tif": _tiff(GREY, rowsperstrip=8),
        "tiles.tif": _tiff(GREY, tile=(16, 16)),
        "rgb.tif": _tiff(RGB, **rgb),
        "rgba.tif": _tiff(RGBA, extrasamples=["unassalpha"], **rgb),
        "grey-16.tif": _tiff(GREY16, rowsperstrip=8),
        "grey-16-big-endian.tif": _tiff(GREY16, byteorder=">"),
        "rgb-16.tif": _tiff(RGB16, **rgb),
        "rgb-16-tiles.tif": _tiff(RGB16, tile=(32, 16), compression="zlib", **rgb),
        "lzw.tif": _tiff(RGB, compression="lzw", predictor=True, rowsperstrip=16, **rgb),
        "lzw-16.tif": _tiff(GREY16, compression="lzw", rowsperstrip=16),
        "deflate.tif": _tiff(GREY, compression="zlib", rowsperstrip=16),
        "packbits.tif": _tiff(GREY, compression="packbits", rowsperstrip=16),
        "jpeg.tif": _tiff(RGB, compression="jpeg", rowsperstrip=16, **rgb),
        "jpeg-ycbcr.tif": _pillow(RGB, "TIFF", compression="jpeg"),
        "palette.tif": _pillow(RGB, "TIFF", "P"),
        "cmyk.tif": _pillow(RGB, "TIFF", "CMYK"),
        "one-bit.tif": _pillow(BITS, "TIFF", "1"),
        "white-is-zero.tif": _tiff(GREY, photometric="miniswhite"),
        "pages.tif": _tiff(np.stack([GREY, 255 - GREY, GREY // 2]), photometric="minisblack"),
        "pages-lzw.tif": _pillow(RGB, "TIFF", save_all=True, append_images=_frames(), compression="tiff_lzw"),
        "pages-16.tif": _tiff(np.stack([GREY16, GREY16 // 2]), photometric="minisblack", compression="zlib"),
        "float.tif": _tiff(GREY.astype(np.float32)),
        "fax.tif": _pillow(BITS, "TIFF", "1", compression="group4"),
        **_laboratory(),
    }


def _laboratory() -> dict[str, bytes]:
    """As microscopes and their programs write them."""
    rgb: dict[str, Any] = {"photometric": "rgb"}
    planes = np.stack([GREY16, GREY16 // 2])
    channels = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    return {
        "big.tif": _tiff(GREY16, bigtiff=True, rowsperstrip=8),
        "big-tiles.tif": _tiff(RGB, bigtiff=True, tile=(16, 16), byteorder=">", **rgb),
        "colours-apart.tif": _tiff(RGB.transpose(2, 0, 1), planarconfig="separate", compression="lzw", **rgb),
        "int16.tif": _tiff(GREY16.astype(np.int32).astype(np.int16), compression="zlib", predictor=True),
        "float64.tif": _tiff(GREY16 / 7.0, tile=(16, 16), compression="zstd"),
        "zstd.tif": _tiff(RGB, compression="zstd", rowsperstrip=16, **rgb),
        "lzma.tif": _tiff(GREY, compression="lzma", rowsperstrip=16),
        "jpeg-2000.tif": _tiff(RGB, compression="jpeg2000", tile=(32, 32), **rgb),
        "grey-alpha-16.tif": _tiff(planes.transpose(1, 2, 0), photometric="minisblack", extrasamples=["unassalpha"]),
        "channels.tif": _tiff(RGBA[:, :, :2].copy(), photometric="minisblack", planarconfig="contig"),
        "hyperstack.ome.tif": _tiff(np.stack([planes, planes]), ome=True, metadata=channels),
        "imagej.tif": _tiff(planes, imagej=True, resolution=(4, 4), metadata={"axes": "CYX", "unit": "um"}),
        "metamorph.tif": metamorph(planes),
        "thumbnail.tif": _thumbnail(),
    }


def _thumbnail() -> bytes:
    """A smaller copy with its picture below it, and a transparency mask."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GREY[::2, ::2], subfiletype=1, subifds=1)
        writer.write(GREY16)
        writer.write(BITS, subfiletype=4)
    return buffer.getvalue()


def _bmps() -> dict[str, bytes]:
    return {
        "grey.bmp": _pillow(GREY, "BMP"),
        "rgb.bmp": _pillow(RGB, "BMP"),
        "rgba.bmp": cv2.imencode(".bmp", RGBA)[1].tobytes(),
        "one-bit.bmp": _pillow(BITS, "BMP", "1"),
        "top-down.bmp": _bmp(-H, 8, np.pad(GREY, ((0, 0), (0, -W % 4))).tobytes()),
        "16-bit.bmp": _bmp(H, 16, np.pad(GREY16, ((0, 0), (0, W % 2))).tobytes()),
    }


def _bmp(height: int, bits: int, body: bytes) -> bytes:
    palette = b"".join(struct.pack("<I", level * 0x010101) for level in range(256)) if bits == 8 else b""
    info = struct.pack("<IiiHHIIiiII", 40, W, height, 1, bits, 0, len(body), 0, 0, len(palette) // 4, 0)
    start = 14 + len(info) + len(palette)
    return struct.pack("<2sIII", b"BM", start + len(body), 0, start) + info + palette + body


def _webps() -> dict[str, bytes]:
    return {
        "lossy.webp": _pillow(RGB, "WEBP"),
        "lossy-alpha.webp": _pillow(RGBA, "WEBP"),
        "lossless.webp": _pillow(RGB, "WEBP", lossless=True),
        "lossless-alpha.webp": _pillow(RGBA, "WEBP", lossless=True, exact=True),
        "animated.webp": _pillow(RGB, "WEBP", save_all=True, append_images=_frames()),
    }


def _refused() -> dict[str, bytes]:
    return {
        "grey.gif": _pillow(GREY, "GIF"),
        "rgb.jp2": _pillow(RGB, "JPEG2000"),
        "grey.pgm": _pillow(GREY, "PPM"),
        "rgb.hdr": cv2.imencode(".hdr", RGB.astype(np.float32))[1].tobytes(),
        "complex.tif": _tiff(GREY.astype(np.complex64)),
    }
