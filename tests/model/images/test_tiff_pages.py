import struct
from io import BytesIO

import numpy as np
import pytest
import tifffile

from model.images.decoding import decode_image
from model.images.headers import read_header
from model.images.image_errors import ImageError, UnsupportedImage
from model.images.tiff_pages import MAX_PAGES, MAX_STRIPS, MAX_TAGS
from tests.support.image_files import BITS, GREY, GREY16, RGB, RGB16, pillow, tiff


def test_a_tiff_whose_tiles_are_huge_counts_their_pixels():
    data = tiff(GREY16, tile=(16, 16))
    entry = struct.pack("<HHII", 322, 4, 1, 16)
    assert data.count(entry) == 1
    assert read_header(data.replace(entry, struct.pack("<HHII", 322, 4, 1, 65520))).pixels == 65520 * 16


@pytest.mark.parametrize(("rows", "counted"), [(2**32 - 1, 1), (1, 1), (8_000_000, 8_000_000)])
def test_a_tiff_whose_strips_are_huge_counts_their_pixels(rows, counted):
    data = small_tiff(rows=(4, rows))
    assert read_header(data).pixels == counted
    assert decode_image(data).shape == (1, 1)


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


# What decoders get wrong without a word


@pytest.mark.parametrize("pixels", [RGB, RGB16])
def test_a_tiff_of_separate_planes_is_refused_for_opencv_scrambles_it(pixels):
    planes = tiff(np.ascontiguousarray(pixels.transpose(2, 0, 1)), photometric="rgb", planarconfig="separate")
    with pytest.raises(UnsupportedImage, match="planes apart"):
        decode_image(planes)


def test_a_16_bit_white_is_zero_tiff_is_refused():
    with pytest.raises(UnsupportedImage, match="white is 0"):
        decode_image(tiff(65535 - GREY16, photometric="miniswhite"))


def test_a_ccitt_tiff_is_refused():
    with pytest.raises(UnsupportedImage, match="LZW, deflate, PackBits or JPEG"):
        decode_image(pillow(BITS, "TIFF", "1", compression="group4"))


def small_tiff(*more: tuple[int, int, int, int], **changed: tuple[int, int]) -> bytes:
    """One grey pixel; tags as (number, type, count, value), those by name as (type, value)."""
    tags = {"width": (256, 4), "height": (257, 4), "bits": (258, 3), "compression": (259, 3), "photometric": (262, 3)}
    tags |= {"strips": (273, 4), "samples": (277, 3), "rows": (278, 4), "sizes": (279, 4)}
    values = {"bits": 8, "strips": 8}
    given = {number: changed.get(name, (kind, values.get(name, 1))) for name, (number, kind) in tags.items()}
    entries = [(number, kind, 1, value) for number, (kind, value) in given.items()]
    fields = b"".join(struct.pack("<HHII", *entry) for entry in sorted([*entries, *more]))
    return b"II*\0" + struct.pack("<IQH", 16, 77, len(entries) + len(more)) + fields + bytes(4)


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


@pytest.mark.parametrize(
    ("samples", "bits", "photometric"),
    [(5, 8, 2), (200, 8, 1), (4, 8, 1), (2, 16, 1), (4, 16, 1), (1, 16, 2), (2, 16, 2), (5, 16, 2), (1, 16, 3)],
)
def test_a_tiff_with_a_wrong_sample_count_is_refused(samples, bits, photometric):
    """OpenCV would scramble such pixels of 16 bits, or return earlier contents of the memory."""
    with pytest.raises(UnsupportedImage, match="of as many samples a pixel"):
        read_header(small_tiff(samples=(3, samples), bits=(3, bits), photometric=(3, photometric)))


def test_a_tiff_of_8_and_16_bits_is_refused():
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GREY)
        writer.write(GREY16)
    with pytest.raises(UnsupportedImage, match="8 and of 16 bits together"):
        read_header(buffer.getvalue())
