"""The directories of a TIFF or BigTIFF file: their tags, read with limits and before any decoder runs."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from model.images.image_errors import UnsupportedImage, broken

MAX_PAGES = 4096
# Far more than any program writes.
MAX_TAGS = 512
MAX_STRIPS = 2**18

_STRIPS = (273, 324)  # offsets of strips and of tiles
_SUB_DIRECTORIES = 330
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNSIGNED = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_RATIONAL = 5


@dataclass(frozen=True)
class ByteLayout:
    """The byte order of a TIFF file and the sizes of its fields.

    Attributes:
        order: "<" or ">", as `struct` writes byte orders.
        big: True for BigTIFF, whose offsets have 64 bits.
    """

    order: str
    big: bool

    @property
    def count(self) -> str:
        """Format of the number of tags in a directory."""
        return f"{self.order}{'Q' if self.big else 'H'}"

    @property
    def offset(self) -> str:
        """Format of an offset in the file; the value of a tag is stored in a field of the same size."""
        return f"{self.order}{'Q' if self.big else 'I'}"

    @property
    def entry(self) -> str:
        """Format of a tag: number, type, number of values, and the values or their offset."""
        return f"{self.order}{'HHQQ' if self.big else 'HHII'}"

    @property
    def first(self) -> int:
        """The place of the offset of the first directory."""
        return 8 if self.big else 4


@dataclass(frozen=True)
class Tag:
    """A tag of a directory. `at` is the offset of its first value in the file."""

    kind: int
    count: int
    at: int

    @property
    def size(self) -> int:
        """Bytes of all values; 0 if the type is unknown."""
        return _TYPE_BYTES.get(self.kind, 0) * self.count


@dataclass(frozen=True)
class Directory:
    """The tags of one page, by number; a list, because some programs write a tag twice."""

    data: bytes = field(repr=False)
    layout: ByteLayout
    tags: Mapping[int, list[Tag]]

    def integers(self, number: int, most: int = 1) -> tuple[int, ...]:
        """Returns the first `most` values of a tag; none if the tag is missing.

        Raises ImageError if the values are not whole numbers, or the tag is there twice with different values, because
        decoders do not agree which of them counts; struct.error if the file ends too early.
        """
        if number not in self.tags:
            return ()
        tag, *others = self.tags[number]
        if tag.kind not in _UNSIGNED or tag.count < 1 or any(self._bytes(each) != self._bytes(tag) for each in others):
            raise broken("TIFF")
        return struct.unpack_from(f"{self.layout.order}{min(tag.count, most)}{_UNSIGNED[tag.kind]}", self.data, tag.at)

    def texts(self, number: int) -> list[str]:
        """Returns the texts of all tags of that number, each up to its first zero byte."""
        return [self._bytes(tag).partition(b"\0")[0].decode("utf-8", "replace") for tag in self.tags.get(number, ())]

    def ratio(self, number: int) -> float:
        """Returns the value of a tag that holds a fraction; 0 if there is none, or its denominator is 0."""
        tag = self.tags.get(number, [None])[0]
        if tag is None or tag.kind != _RATIONAL or tag.at + 8 > len(self.data):
            return 0.0
        above, below = struct.unpack_from(f"{self.layout.order}II", self.data, tag.at)
        return above / below if below else 0.0

    def _bytes(self, tag: Tag) -> bytes:
        return self.data[tag.at : tag.at + tag.size]


def read_layout(data: bytes) -> ByteLayout:
    """Reads byte order and kind of a TIFF file from its first bytes."""
    order = "<" if data[:2] == b"II" else ">"
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    return ByteLayout(order, big=version == 43)


def read_directories(data: bytes) -> list[Directory]:
    """Returns the directories of all pages, at least one.

    Raises:
        ImageError: The file is damaged.
        UnsupportedImage: The file has too many pages, tags or strips.
        struct.error: The file ends too early.
    """
    layout = read_layout(data)
    (start,) = struct.unpack_from(layout.offset, data, layout.first)
    found = list(islice(_chain(data, layout, start, _Budget(data)), MAX_PAGES + 1))
    if len(found) > MAX_PAGES:
        raise UnsupportedImage(f"TIFF files of more than {MAX_PAGES} pages are not accepted.")
    if not found:
        raise broken("TIFF")
    return found


def read_sub_directories(directory: Directory) -> list[Directory]:
    """Returns the directories that belong to a page (SubIFDs). Raises as `read_directories` does."""
    starts = directory.integers(_SUB_DIRECTORIES, MAX_TAGS)
    budget = _Budget(directory.data)
    return [_read(directory.data, directory.layout, start, budget)[0] for start in starts]


class _Budget:
    """Counts what the tags of a file claim, so that decoders can be given a file without further checks."""

    def __init__(self, data: bytes) -> None:
        self._bytes, self._strips = 2 * len(data), MAX_STRIPS

    def spend(self, number: int, tag: Tag) -> None:
        """Raises UnsupportedImage for too many strips, ImageError if tags share the same bytes."""
        self._strips -= tag.count if number in _STRIPS else 0
        if self._strips < 0:
            raise UnsupportedImage(f"TIFF files of more than {MAX_STRIPS} strips or tiles are not accepted.")
        # a decoder would copy the shared bytes for each tag
        self._bytes -= tag.size
        if self._bytes < 0:
            raise broken("TIFF")


def _chain(data: bytes, layout: ByteLayout, start: int, budget: _Budget) -> Iterator[Directory]:
    seen: set[int] = set()
    while start and start not in seen:
        seen.add(start)
        directory, start = _read(data, layout, start, budget)
        yield directory


def _read(data: bytes, layout: ByteLayout, start: int, budget: _Budget) -> tuple[Directory, int]:
    """The directory at an offset, and the offset of the next one."""
    (count,) = struct.unpack_from(layout.count, data, start)
    if count > MAX_TAGS:
        raise UnsupportedImage(f"TIFF files of more than {MAX_TAGS} tags a page are not accepted.")
    first, step = start + struct.calcsize(layout.count), struct.calcsize(layout.entry)
    value_bytes = struct.calcsize(layout.offset)
    tags: dict[int, list[Tag]] = {}
    for place in range(first, first + count * step, step):
        number, kind, values, offset = struct.unpack_from(layout.entry, data, place)
        inline = _TYPE_BYTES.get(kind, 0) * values <= value_bytes
        tag = Tag(kind, values, place + step - value_bytes if inline else offset)
        budget.spend(number, tag)
        tags.setdefault(number, []).append(tag)
    (following,) = struct.unpack_from(layout.offset, data, first + count * step)
    return Directory(data, layout, tags), following
