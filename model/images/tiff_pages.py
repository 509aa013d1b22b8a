"""Tags of the pages of a TIFF file. Pages that decoders would silently read wrongly are refused."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from model.images.image_errors import UnsupportedImage, broken

# libtiff takes time that grows with the square of the number of pages; this many take some seconds.
MAX_PAGES = 4096
# Far more than any program writes.
MAX_TAGS = 512
MAX_STRIPS = 2**18

_FIELDS = {
    256: "width",
    257: "height",
    258: "bits",
    259: "compression",
    262: "photometric",
    274: "orientation",
    277: "samples",
    278: "rows_per_strip",
    284: "planes",
    322: "tile_width",
    323: "tile_height",
    339: "sample_format",
}
_STRIPS = (273, 324)  # where they lie; or the tiles
_PHOTOMETRIC, _EXTRA_SAMPLES, _TARGET_PRINTER = 262, 338, 337
_GREY, _RGB = 1, 2
_ALL_ROWS = 2**32 - 1  # in one strip
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNSIGNED = {1: "B", 3: "H", 4: "I"}

# None, LZW, JPEG, deflate (twice) and PackBits. Decoders of CCITT fill what they cannot read with white.
JPEG = 7
_COMPRESSIONS = (1, 5, JPEG, 8, 32946, 32773)
# Samples and photometric interpretation of more than 8 bits: grey, RGB and RGBA.
_DEEP = ((1, _GREY), (3, _GREY), (3, _RGB), (4, _RGB))
_DTYPES = {1: "uint", 2: "int", 3: "float"}


@dataclass(frozen=True)
class Page:
    """The tags that matter. Of several values, the largest counts; a missing tag has the standard's default, or 0."""

    width: int = 0
    height: int = 0
    bits: int = 1
    compression: int = 1
    photometric: int = 1
    orientation: int = 1
    samples: int = 1
    rows_per_strip: int = 0
    planes: int = 1
    tile_width: int = 0
    tile_height: int = 0
    sample_format: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the decoded page, after the rotation that its Orientation asks for."""
        return (self.height, self.width) if self.orientation in (5, 6, 7, 8) else (self.width, self.height)

    @property
    def colours_said_to_be_grey(self) -> bool:
        """True if pixels have three interleaved samples although the photometric tag says grey."""
        return (self.samples, self.planes, self.photometric) == (3, 1, _GREY)

    @property
    def room(self) -> int:
        """Pixels of the page, or of a tile or strip if larger: decoders allocate memory for a whole tile or strip."""
        rows = self.height if self.rows_per_strip == _ALL_ROWS else self.rows_per_strip
        return max(self.width * max(self.height, rows), self.tile_width * self.tile_height)

    def check(self) -> None:
        """Raises ImageError if there are no pixels, UnsupportedImage for what decoders get wrong or never were for."""
        if not (self.width and self.height):
            raise broken("TIFF")
        if self.sample_format != 1 or self.bits > 16:
            dtype = f"{_DTYPES.get(self.sample_format, 'unknown')}{self.bits}"
            raise UnsupportedImage(f"Pixels of type {dtype} are not accepted: 8 or 16 bits unsigned are.")
        if self.samples > 1 and self.planes == 2:
            raise UnsupportedImage("TIFF files that store their colour planes apart are not accepted.")
        if self.bits > 8 and self.photometric == 0:
            raise UnsupportedImage("TIFF files of 16 bits in which white is 0 are not accepted.")
        # OpenCV leaves pixels as they were in memory where the number of samples is not that of the colours
        deep = self.bits > 8 and (self.samples, self.photometric) not in _DEEP
        if self.samples > 4 or deep or (self.samples == 4 and self.photometric == _GREY):
            raise UnsupportedImage("TIFF files are accepted as grey, RGB or RGBA, of as many samples a pixel.")
        if self.compression not in _COMPRESSIONS:
            raise UnsupportedImage("TIFF files are accepted uncompressed, or with LZW, deflate, PackBits or JPEG.")


def read_pages(data: bytes) -> list[Page]:
    """At least one. Raises ImageError, UnsupportedImage; struct.error where the file ends too early."""
    pages = list(islice(_read(data), MAX_PAGES + 1))
    if len(pages) > MAX_PAGES:
        raise UnsupportedImage(f"TIFF files of more than {MAX_PAGES} pages are not accepted.")
    if not pages:
        raise broken("TIFF")
    for page in pages:
        page.check()
    if len({page.bits > 8 for page in pages}) > 1:
        raise UnsupportedImage("TIFF files of pages of 8 and of 16 bits together are not accepted.")
    return pages


def tag_colours(data: bytes) -> bytes:
    """Returns the file with RGB in the photometric tag of each page that has colours but says grey.

    Some programs write such files; decoders refuse them. The ExtraSamples tag is hidden as well.
    """
    tagged = bytearray()
    order = _byte_order(data)
    for start, entries in _directories(data):
        if not _page(data, order, start, entries).colours_said_to_be_grey:
            continue
        tagged = tagged or bytearray(data)
        for index, (tag, *_) in enumerate(entries):
            at = start + 12 * index
            if tag == _PHOTOMETRIC:
                struct.pack_into(f"{order}HHIHH", tagged, at, tag, 3, 1, _RGB, 0)
            elif tag == _EXTRA_SAMPLES:
                struct.pack_into(f"{order}H", tagged, at, _TARGET_PRINTER)  # a neighbour that decoders ignore
    return bytes(tagged) or data


def _byte_order(data: bytes) -> str:
    return "<" if data[:2] == b"II" else ">"


def _read(data: bytes) -> Iterator[Page]:
    order = _byte_order(data)
    return (_page(data, order, start, entries) for start, entries in _directories(data))


def _directories(data: bytes) -> Iterator[tuple[int, list[tuple[int, ...]]]]:
    """Where the entries of each page's directory begin, and the entries: tag, type, number of values, value."""
    order = _byte_order(data)
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    seen: set[int] = set()
    claimed = strips = 0
    while start and start not in seen:
        seen.add(start)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        if count > MAX_TAGS:
            raise UnsupportedImage(f"TIFF files of more than {MAX_TAGS} tags a page are not accepted.")
        entries = list(struct.iter_unpack(f"{order}HHII", data[start + 2 : start + 2 + 12 * count]))
        strips += sum(values for tag, _, values, _ in entries if tag in _STRIPS)
        if strips > MAX_STRIPS:
            raise UnsupportedImage(f"TIFF files of more than {MAX_STRIPS} strips or tiles are not accepted.")
        claimed += sum(_TYPE_BYTES.get(kind, 0) * values for _, kind, values, _ in entries)
        # tags that share their bytes would make a decoder copy them for each
        if len(entries) < count or claimed > 2 * len(data):
            raise broken("TIFF")
        yield start + 2, entries
        (start,) = struct.unpack_from(f"{order}I", data, start + 2 + 12 * count)


def _page(data: bytes, order: str, start: int, entries: list[tuple[int, ...]]) -> Page:
    fields: dict[str, int] = {}
    for index, (tag, kind, count, offset) in enumerate(entries):
        if tag not in _FIELDS:
            continue
        # decoders do not agree which of two counts
        if _FIELDS[tag] in fields or kind not in _UNSIGNED or not 1 <= count <= 16:
            raise broken("TIFF")
        layout = f"{order}{count}{_UNSIGNED[kind]}"
        at = offset if struct.calcsize(layout) > 4 else start + 12 * index + 8
        fields[_FIELDS[tag]] = max(struct.unpack_from(layout, data, at))
    return Page(**fields)
