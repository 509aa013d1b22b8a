"""Headers of image files: format, size and pages, read before any decoder runs. This is the security boundary.

Pillow does not read the headers, because the sender of a file would choose the cost. 2000 tags of a TIFF of 1 MB that
all point at the same megabyte take 2 GB in libtiff; 2 MB of empty JPEG segments take a second in Pillow. This module
counts everything that can repeat in a file against a limit, and each step only looks at a few bytes.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product

from model.images.image_errors import ImageError, UnsupportedImage, broken
from model.images.tiff_pages import JPEG, read_pages

# Far more than any program writes: chunks are of 8 KB or larger, a progressive JPEG has some 10 scans.
MAX_CHUNKS = 2**17
MAX_SEGMENTS = 2**16
MAX_SCANS = 100

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


@dataclass(frozen=True)
class Header:
    """The properties of an image file that are known before it is decoded."""

    format: str
    width: int
    height: int
    pages: int
    pixels: int
    """Pixels of all pages together, to reserve memory for. `width` and `height` are those of the first page."""
    bits: int = 8
    """Largest number of bits of a sample; read only from TIFF."""
    lossy: str = ""
    """What compressed it and changed its pixels' values: "JPEG", in a TIFF too, or "lossy WebP"."""


def read_header(data: bytes) -> Header:
    """Reads format, size and page count without decoding. Raises ImageError, UnsupportedImage."""
    kind = format_of(data)
    try:
        if kind == "TIFF":
            pages = read_pages(data)
            bits = max(page.bits for page in pages)
            lossy = "JPEG" if any(page.compression == JPEG for page in pages) else ""
            return Header(kind, *pages[0].size, len(pages), sum(page.room for page in pages), bits, lossy)
        width, height = _SIZES[kind](data)
    except (struct.error, IndexError) as error:
        raise broken(kind) from error
    if width < 1 or height < 1:
        raise broken(kind)
    lossy = "JPEG" if kind == "JPEG" else "lossy WebP" if kind == "WEBP" and _webp_is_lossy(data) else ""
    return Header(kind, width, height, 1, width * height, lossy=lossy)


def format_of(data: bytes) -> str:
    """The name of the format, by the first bytes. Raises ImageError, UnsupportedImage."""
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


def _png_size(data: bytes) -> tuple[int, int]:
    if data[8:16] != b"\0\0\0\x0dIHDR":
        raise broken("PNG")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


_BMP_HEADERS = (40, 52, 56, 64, 108, 124)  # sizes of their versions, besides the first


def _bmp_size(data: bytes) -> tuple[int, int]:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return width, height
    if size not in _BMP_HEADERS:
        raise broken("BMP")
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    # compressions 1 and 2 may skip pixels; then a missing part cannot be told from an intended gap
    if compression not in (0, 3):
        raise UnsupportedImage("BMP files are accepted uncompressed.")
    return width, abs(height)  # a negative height: rows from top to bottom


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and data[20] == 0x2F:
        (packed,) = struct.unpack_from("<I", data, 21)
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise broken("WEBP")


def _webp_is_lossy(data: bytes) -> bool:
    at = 12
    for _ in range(MAX_CHUNKS):
        kind = data[at : at + 4]
        if kind in (b"VP8 ", b"VP8L", b""):
            return kind == b"VP8 "
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    raise UnsupportedImage(f"WebP files of more than {MAX_CHUNKS} chunks are not accepted.")


# PNG


def png_pixels_only(data: bytes) -> bytes:
    """The file without the chunks that make no pixel of its picture: text, profiles, the other frames of an animation.

    OpenCV allocates what a chunk claims, up to 4 GB, before it looks, and leaves pixels of animations as they were in
    memory. Raises ImageError if a chunk lies outside the file or the last one is missing, UnsupportedImage.
    """
    kept = [data[:8]]
    for kind, start, end in islice(_png_chunks(data), MAX_CHUNKS):
        if kind == b"tRNS" or kind[:1].isupper():
            kept.append(data[start:end])
        if kind == b"IEND":
            return b"".join(kept)
    raise UnsupportedImage(f"PNG files of more than {MAX_CHUNKS} chunks are not accepted.")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each."""
    start = 8
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if end > len(data):
            break
        yield data[start + 4 : start + 8], start, end
        start = end
    raise broken("PNG")


# JPEG

_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # none that stands between the bytes of a scan
_SOS, _EOI = 0xDA, 0xD9
_SIZES_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, at in _jpeg_segments(data):
        if marker in _SIZES_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
    raise broken("JPEG")


def check_scans(data: bytes) -> None:
    """Checks that the scans of a JPEG contain its whole picture, and that there are not too many scans.

    Each scan costs the decoder a pass over all pixels, even if the scan has only a few bytes. Without its last scans, a
    progressive picture is blurred. Raises ImageError, UnsupportedImage.
    """
    # never too few: inside a scan no such bytes are, only other segments and what follows the picture hold more of them
    few = data.count(b"\xff\xda") <= MAX_SCANS
    scans, missing = 0, {(0, 0)}
    for marker, at in _jpeg_segments(data):
        if marker in _SIZES_OF_FRAME:
            components = data[at + 8 : at + 8 + 3 * data[at + 7] : 3]
            missing = set(product(components, range(64)))
        elif marker == _SOS:
            scans += 1
            missing -= _finished(data, at)
            if not missing and few:
                return
            if scans > MAX_SCANS:
                raise UnsupportedImage(f"JPEG files of more than {MAX_SCANS} scans are not accepted.")
    if missing:
        raise broken("JPEG")


def _finished(data: bytes, at: int) -> set[tuple[int, int]]:
    """The coefficients whose last bits a scan brings, as (component, index)."""
    end = at + 3 + 2 * data[at + 2]
    components = data[at + 3 : end : 2]
    first, last, bits = data[end : end + 3]
    return set(product(components, range(first, min(last, 63) + 1))) if bits & 15 == 0 else set()


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker of each segment and where its length stands, up to the end of the picture."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if not found or data[found.end() - 1] == _EOI:
            return
        yield data[found.end() - 1], found.end()
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    raise UnsupportedImage(f"JPEG files of more than {MAX_SEGMENTS} segments are not accepted.")


_SIZES = {"PNG": _png_size, "JPEG": _jpeg_size, "BMP": _bmp_size, "WEBP": _webp_size}
