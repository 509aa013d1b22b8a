import struct

import numpy as np
import pytest

from model.images.decoding import decode_image
from model.images.headers import read_header
from model.images.image_errors import ImageError, UnsupportedImage
from model.images.tiff_directories import MAX_PAGES, MAX_STRIPS, MAX_TAGS, read_directories, read_layout
from tests.support.image_files import GREY, RGB16, small_tiff, tiff


def endless_tiff(pages: int) -> bytes:
    """A TIFF whose pages, `pages` in number, all claim the same pixel."""
    entries = [(256, 4, 1), (257, 4, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, 1), (279, 4, 1)]
    fields = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries
    )
    step = len(fields) + 4
    starts = [16 + step * (page + 1) for page in range(pages - 1)]
    return (
        b"II*\0"
        + struct.pack("<I", 16)
        + bytes(8)
        + b"".join(fields + struct.pack("<I", start) for start in [*starts, 0])
    )


def test_a_tiff_of_too_many_pages_is_refused():
    assert read_header(endless_tiff(50)).pages == 50
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_PAGES} pages"):
        read_header(endless_tiff(MAX_PAGES + 1))


def test_a_tiff_whose_pages_go_round_in_a_circle_ends():
    data = endless_tiff(3)
    assert read_header(data[:-4] + struct.pack("<I", 16)).pages == 3


def test_the_small_tiff_of_these_tests_is_one():
    assert decode_image(small_tiff()).tolist() == [[77]]


def test_a_tiff_whose_tags_share_their_bytes_is_an_error():
    more = [(40000 + index, 1, 100_000, 8) for index in range(300)]
    with pytest.raises(ImageError, match="broken or truncated"):
        read_header(small_tiff(*more) + bytes(100_000))


def test_a_tiff_that_says_its_size_twice_is_an_error():
    with pytest.raises(ImageError, match="broken or truncated"):
        read_header(small_tiff((256, 4, 1, 60_000)))


def test_a_tiff_of_too_many_tags_is_refused():
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_TAGS} tags a page"):
        read_header(small_tiff(*((40000 + index, 3, 1, 0) for index in range(MAX_TAGS))))


def test_a_tiff_of_too_many_strips_is_refused():
    many = small_tiff((324, 3, MAX_STRIPS + 1, 8)) + bytes(2 * MAX_STRIPS)
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_STRIPS} strips or tiles"):
        read_header(many)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_layout_and_tags_of_both_kinds_and_byte_orders_are_read(byteorder, big):
    data = tiff(RGB16, photometric="rgb", byteorder=byteorder, bigtiff=big, description="hello", resolution=(4, 8))
    assert (read_layout(data).order, read_layout(data).big) == (byteorder, big)
    [directory] = read_directories(data)
    assert directory.integers(256) == (RGB16.shape[1],)
    assert directory.integers(258, most=3) == (16, 16, 16)
    assert directory.texts(270)[0] == "hello"
    assert (directory.ratio(282), directory.ratio(283)) == (4.0, 8.0)
    assert (directory.integers(9999), directory.texts(9999), directory.ratio(9999)) == ((), [], 0.0)


def test_a_tag_that_is_there_twice_with_one_value_counts_once():
    assert np.array_equal(decode_image(small_tiff((274, 3, 1, 1), (274, 3, 1, 1))), [[77]])


def test_a_tag_whose_value_is_no_whole_number_is_an_error():
    with pytest.raises(ImageError, match="broken or truncated"):
        read_header(small_tiff(width=(11, 1)))


@pytest.mark.parametrize("offset", [2**31, 2**63, 2**64 - 1])
def test_offsets_behind_the_end_of_a_big_tiff_are_an_error(offset):
    data = bytearray(tiff(GREY, bigtiff=True))
    struct.pack_into("<Q", data, 8, offset)
    with pytest.raises(ImageError, match="broken or truncated"):
        read_header(bytes(data))
