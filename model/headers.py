"""What an image file says of itself, read before any decoder sees it: format, size, pages.

Read here and not by Pillow, for whoever sends a file chooses what reading its header costs: a TIFF of 1 MB whose 60,000
tags all point at the same megabyte takes 60 GB in Pillow as in libtiff, 30 million empty JPEG segments take a minute.
Whatever repeats in a file is counted here against a limit, and each step costs no more than a look at the bytes.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import TypeAlias

# libtiff takes time that grows with the square of the number of pages; this many take some seconds.
MAX_PAGES = 4096
# Far more than any program writes: chunks are of 8 KB or larger, a progressive JPEG has some 10 scans.
MAX_TAGS = 512
MAX_STRIPS = 2**18
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


class ImageError(ValueError):
    """Bytes that are no image, or a broken one. The message is fit for the person who sent them."""


class UnsupportedImage(ImageError):
    """An image, but of a kind that is not accepted."""


def broken(kind: str) -> ImageError:
    """The error for a file of this format that cannot be read to its end."""
    return ImageError(f"The {kind} file is broken or truncated.")


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before anything is decoded."""

    format: str
    width: int
    height: int
    pages: int
    pixels: int
    """To make room for, of all pages together: they may differ in size. `width` and `height` are the first one's."""
    bits: int = 8
    """Of a sample, at most; known of TIFF alone."""


def read_header(data: bytes) -> Header:
    """Reads format, size and page count without decoding. Raises ImageError, UnsupportedImage."""
    kind = format_of(data)
    try:
        if kind == "TIFF":
            return _tiff_header(data)
        width, height = _SIZES[kind](data)
    except (struct.error, IndexError) as error:
        raise broken(kind) from error
    if width < 1 or height < 1:
        raise broken(kind)
    return Header(kind, width, height, 1, width * height)


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
    # runs of pixels (1, 2) may leave some out, and then nobody knows whether they were meant to
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
    """Whether the scans of a JPEG draw its whole picture, and not too many times over.

    Each scan costs the decoder a pass over all pixels, and need not be longer than a few bytes. Without its last ones a
    progressive picture is a blurred one. Raises ImageError, UnsupportedImage.
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


# TIFF

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 259, 262, 274
_SAMPLES, _PLANES, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 277, 284, 322, 323, 339
_ROWS_PER_STRIP, _ALL_ROWS = 278, 2**32 - 1
_STRIPS = (273, 324)  # where they lie; or the tiles
_DEFAULTS = {_BITS: 1, _COMPRESSION: 1, _ORIENTATION: 1, _SAMPLES: 1, _PLANES: 1, _SAMPLE_FORMAT: 1}
_DEFAULTS |= {_PHOTOMETRIC: 1, _TILE_WIDTH: 0, _TILE_HEIGHT: 0, _ROWS_PER_STRIP: 0}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNSIGNED = {1: "B", 3: "H", 4: "I"}

# None, LZW, JPEG, deflate (twice) and PackBits. Decoders of CCITT fill what they cannot read with white.
_COMPRESSIONS = {1, 5, 7, 8, 32946, 32773}
# Samples and photometric interpretation of more than 8 bits: grey, RGB and RGBA.
_DEEP = {(1, 1), (3, 2), (4, 2)}
_DTYPES = {1: "uint", 2: "int", 3: "float"}

Tags: TypeAlias = dict[int, int]


def _tiff_header(data: bytes) -> Header:
    pages = list(islice(_tiff_pages(data), MAX_PAGES + 1))
    if len(pages) > MAX_PAGES:
        raise UnsupportedImage(f"TIFF files of more than {MAX_PAGES} pages are not accepted.")
    if not pages or any(page[_WIDTH] < 1 or page[_HEIGHT] < 1 for page in pages):
        raise broken("TIFF")
    for page in pages:
        _check_page(page)
    if len({page[_BITS] > 8 for page in pages}) > 1:
        raise UnsupportedImage("TIFF files of pages of 8 and of 16 bits together are not accepted.")
    pixels = sum(_room(page) for page in pages)
    first = pages[0]
    turned = first[_ORIENTATION] in (5, 6, 7, 8)
    size = (first[_HEIGHT], first[_WIDTH]) if turned else (first[_WIDTH], first[_HEIGHT])
    return Header("TIFF", *size, len(pages), pixels, max(page[_BITS] for page in pages))


def _room(page: Tags) -> int:
    """Pixels of a page, or of one of its tiles or strips: decoders make room for a whole one, however small the page."""
    width, height, rows = page[_WIDTH], page[_HEIGHT], page[_ROWS_PER_STRIP]
    strip_height = height if rows == _ALL_ROWS else rows
    return max(width * height, width * strip_height, page[_TILE_WIDTH] * page[_TILE_HEIGHT])


def _check_page(page: Tags) -> None:
    """Refuses what a decoder gets wrong without a word, or was never meant for. Raises UnsupportedImage."""
    samples, bits = page[_SAMPLES], page[_BITS]
    if page[_SAMPLE_FORMAT] != 1 or bits > 16:
        dtype = f"{_DTYPES.get(page[_SAMPLE_FORMAT], 'unknown')}{bits}"
        raise UnsupportedImage(f"Pixels of type {dtype} are not accepted: 8 or 16 bits unsigned are.")
    if samples > 1 and page[_PLANES] == 2:
        raise UnsupportedImage("TIFF files that store their colour planes apart are not accepted.")
    if bits > 8 and page[_PHOTOMETRIC] == 0:
        raise UnsupportedImage("TIFF files of 16 bits in which white is 0 are not accepted.")
    # OpenCV leaves pixels as they were in memory where the number of samples is not that of the colours
    if samples > 4 or (bits > 8 and (samples, page[_PHOTOMETRIC]) not in _DEEP):
        raise UnsupportedImage(
            f"TIFF files of {samples} samples of {bits} bits are accepted as grey, RGB or RGBA alone."
        )
    if page[_COMPRESSION] not in _COMPRESSIONS:
        raise UnsupportedImage("TIFF files are accepted uncompressed, or with LZW, deflate, PackBits or JPEG.")


def _tiff_pages(data: bytes) -> Iterator[Tags]:
    """The tags of each page that the header needs, the largest value of each."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    seen: set[int] = set()
    claimed = strips = 0
    while start and start not in seen:
        seen.add(start)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        if count > MAX_TAGS:
            raise UnsupportedImage(f"TIFF files of more than {MAX_TAGS} tags a page are not accepted.")
        entries = list(struct.iter_unpack(f"{order}HHII", data[start + 2 : start + 2 + 12 * count]))
        claimed += sum(_TYPE_BYTES.get(kind, 0) * values for _, kind, values, _ in entries)
        strips += sum(values for tag, _, values, _ in entries if tag in _STRIPS)
        if strips > MAX_STRIPS:
            raise UnsupportedImage(f"TIFF files of more than {MAX_STRIPS} strips or tiles are not accepted.")
        # tags that share their bytes would make a decoder copy them for each
        if len(entries) < count or claimed > 2 * len(data):
            raise broken("TIFF")
        yield _tags(data, order, start + 2, entries)
        (start,) = struct.unpack_from(f"{order}I", data, start + 2 + 12 * count)


def _tags(data: bytes, order: str, start: int, entries: list[tuple[int, ...]]) -> Tags:
    tags: Tags = {}
    for index, (tag, kind, count, offset) in enumerate(entries):
        if tag not in (_WIDTH, _HEIGHT) and tag not in _DEFAULTS:
            continue
        # decoders do not agree which of two counts
        if tag in tags or kind not in _UNSIGNED or not 1 <= count <= 16:
            raise broken("TIFF")
        layout = f"{order}{count}{_UNSIGNED[kind]}"
        at = offset if struct.calcsize(layout) > 4 else start + 12 * index + 8
        tags[tag] = max(struct.unpack_from(layout, data, at))
    return {_WIDTH: 0, _HEIGHT: 0} | _DEFAULTS | tags


_SIZES = {"PNG": _png_size, "JPEG": _jpeg_size, "BMP": _bmp_size, "WEBP": _webp_size}
