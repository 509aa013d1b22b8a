"""Decoding of TIFF pages by tifffile.

tifffile never sees the file as it was sent: it gets a file whose directories hold only the tags that describe pixels,
and only those of the wanted pages. So no vendor's metadata can change what is read, or how long that takes.

Shape letters: H height, W width, S samples.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from model.images import tiff_pages as tags
from model.images.image_errors import broken
from model.images.jpeg import check_jpeg_part
from model.images.jpeg_2000 import check_jpeg_2000_part
from model.images.tiff_axes import Plane, Stack
from model.images.tiff_colours import palette_colours, to_pixels, turned
from model.images.tiff_directories import ByteLayout, Tag
from model.images.tiff_pages import Page

# Whatever else a file contains stays unread.
_PIXEL_TAGS = (
    *(tags.WIDTH, tags.HEIGHT, tags.BITS, tags.COMPRESSION, tags.PHOTOMETRIC, tags.FILL_ORDER, tags.SAMPLES),
    *(tags.STRIP_OFFSETS, tags.ROWS_PER_STRIP, tags.STRIP_BYTES, tags.PLANES, tags.PREDICTOR, tags.COLOUR_MAP),
    *(tags.TILE_WIDTH, tags.TILE_HEIGHT, tags.TILE_OFFSETS, tags.TILE_BYTES, tags.EXTRA_SAMPLES),
    *(tags.SAMPLE_FORMAT, tags.JPEG_TABLES, tags.SUBSAMPLING),
)
_LONG, _LONG8 = 4, 16


def decode_tiff(pages: Sequence[Page], planes: Sequence[Plane]) -> list[NDArray[Any]]:
    """Decodes planes of a file.

    Returns:
        H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA), of the stored type, in the machine's byte order.

    Raises ImageError, UnsupportedImage, and anything that decoders raise over damaged files.
    """
    stored = _stored_samples(pages, [plane.page for plane in planes])
    return [to_pixels(samples, page, plane.sample) for plane, (page, samples) in zip(planes, stored, strict=True)]


def decode_palette(stack: Stack) -> list[tuple[NDArray[Any], NDArray[np.uint8]] | None]:
    """Decodes the indices of each section that has a palette.

    Returns:
        For each section H x W indices and N x 3 colours (RGB), or None if it has no palette.

    Raises what `decode_tiff` raises.
    """
    first = [plane.page for plane in stack.planes_of(0)]
    found: list[tuple[NDArray[Any], NDArray[np.uint8]] | None] = [None] * len(first)
    indexed = [place for place, page in enumerate(first) if stack.pages[page].photometric == tags.PALETTE]
    stored = _stored_samples(stack.pages, [first[place] for place in indexed])
    for place, (page, samples) in zip(indexed, stored, strict=True):
        found[place] = (turned(samples[:, :, 0].astype(np.uint16), page.orientation), palette_colours(page))
    return found


def _stored_samples(pages: Sequence[Page], indices: Sequence[int]) -> Iterator[tuple[Page, NDArray[Any]]]:
    """Yields the page of each index, and its samples, H x W x S; equal neighbours are decoded once."""
    wanted = sorted(set(indices))
    if not wanted:
        return
    clean = _with_pixel_tags([pages[index] for index in wanted])
    with tifffile.TiffFile(BytesIO(clean)) as file:
        last, samples = -1, np.empty(0)
        for index in indices:
            if index != last:
                last, samples = index, _samples(file, clean, wanted.index(index), pages[index])
            yield pages[index], samples


def _samples(file: tifffile.TiffFile, clean: bytes, index: int, page: Page) -> NDArray[Any]:
    """The samples of a page as stored, H x W x S."""
    if page.photometric == tags.YCBCR and page.compression != tags.JPEG:
        return _by_pillow(clean, index)  # tifffile reads no smaller colour planes
    stored = file.pages[index]
    if not isinstance(stored, tifffile.TiffPage) or stored.dtype is None:
        raise broken("TIFF")
    _keep_inside(stored, len(page.directory.data))
    _check_parts(clean, stored, page)
    samples = _assembled(stored)
    if samples.shape[2] != page.samples:  # tifffile and the header read a damaged tag differently
        raise broken("TIFF")
    return samples


def _keep_inside(stored: tifffile.TiffPage, end: int) -> None:
    """Ends strips or tiles where the sent file ends. Raises ImageError if there are fewer than the page needs."""
    if len(stored.dataoffsets) < math.prod(stored.chunked):
        raise broken("TIFF")
    pairs = zip(stored.dataoffsets, stored.databytecounts, strict=True)
    stored.databytecounts = tuple(max(0, min(size, end - start)) for start, size in pairs)


def _assembled(stored: tifffile.TiffPage) -> NDArray[Any]:
    """Puts the strips or tiles of a page together. Raises ImageError if one is missing."""
    apart, _, height, width, together = stored.shaped
    samples = np.empty((height, width, apart * together), stored.dtype)
    missing = samples.size
    for part, (sample, _, row, column, _), _ in stored.segments(maxworkers=1):
        if part is None:
            raise broken("TIFF")
        rows, columns = min(part.shape[1], height - row), min(part.shape[2], width - column)
        to = slice(sample, sample + 1) if apart > 1 else slice(None)
        to_fill = samples[row : row + rows, column : column + columns, to]
        to_fill[...] = part[0, :rows, :columns]
        missing -= to_fill.size
    if missing:
        raise broken("TIFF")
    return samples


def _by_pillow(clean: bytes, index: int) -> NDArray[Any]:
    """RGB of a page in YCbCr."""
    with Image.open(BytesIO(clean), formats=["TIFF"]) as image:
        image.seek(index)
        return np.array(image.convert("RGB"))


def _check_parts(clean: bytes, stored: tifffile.TiffPage, page: Page) -> None:
    """Reads the strips or tiles that are image files themselves, because decoders fill missing parts with grey.

    Raises ImageError, ValueError.
    """
    if page.compression != tags.JPEG and page.compression not in tags.JPEG_2000:
        return
    tables = (stored.jpegtables or b"")[:-2]  # an image without pixels: its end is left out, like the strip's beginning
    for start, size in zip(stored.dataoffsets, stored.databytecounts, strict=True):
        part = clean[start : start + size]
        if page.compression == tags.JPEG:
            check_jpeg_part(tables + part[2 * bool(tables) :], page.room)
        else:
            check_jpeg_2000_part(part, page.room)


def _with_pixel_tags(pages: Sequence[Page]) -> bytes:
    """The file with new directories of these pages at its end."""
    data, layout = pages[0].directory.data, pages[0].directory.layout
    parts, end = [], len(data)
    for page in pages:
        entries = _entries(page)
        fields = b"".join(entries[number] for number in sorted(entries))
        directory = struct.pack(layout.count, len(entries)) + fields
        end += len(directory) + struct.calcsize(layout.offset)
        parts.append(directory + struct.pack(layout.offset, 0 if page is pages[-1] else end))
    head = data[: layout.first] + struct.pack(layout.offset, len(data))
    return b"".join([head, data[len(head) :], *parts])


def _entries(page: Page) -> dict[int, bytes]:
    """The tags of a page that describe pixels, by number, in the bytes of a directory."""
    directory = page.directory
    kept = {number: directory.tags[number][0] for number in _PIXEL_TAGS if number in directory.tags}
    if any(tag.at + tag.size > len(directory.data) for tag in kept.values()):
        raise broken("TIFF")
    entries = {number: _stored(number, tag, directory.data, directory.layout) for number, tag in kept.items()}
    if page.colours == 3 and page.photometric == tags.GREY:
        entries[tags.PHOTOMETRIC] = _number(tags.PHOTOMETRIC, tags.RGB, directory.layout)
    if page.plane is None:
        return entries
    where = page.first_byte + page.plane * page.stored_bytes
    values = ((tags.STRIP_OFFSETS, where), (tags.STRIP_BYTES, page.stored_bytes), (tags.ROWS_PER_STRIP, page.height))
    return entries | {number: _number(number, value, directory.layout) for number, value in values}


def _stored(number: int, tag: Tag, data: bytes, layout: ByteLayout) -> bytes:
    inline = struct.calcsize(layout.offset)
    place = struct.pack(layout.offset, tag.at) if tag.size > inline else data[tag.at : tag.at + inline]
    return struct.pack(layout.entry[:3], number, tag.kind) + struct.pack(layout.offset, tag.count) + place


def _number(number: int, value: int, layout: ByteLayout) -> bytes:
    return struct.pack(layout.entry, number, _LONG8 if layout.big else _LONG, 1, value)
