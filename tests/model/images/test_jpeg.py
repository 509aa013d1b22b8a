import struct

import numpy as np
import pytest

from model.images.decoding import decode_image
from model.images.headers import read_header
from model.images.image_errors import ImageError, UnsupportedImage
from model.images.jpeg import MAX_SCANS, MAX_SEGMENTS
from tests.support.image_files import INKS, LARGE, RGB, pillow


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, INKS, {"restart_marker_blocks": 9}])
@pytest.mark.parametrize("part", [0.4, 0.7, 0.95])
def test_a_jpeg_that_ends_too_early_with_an_end_marker_is_an_error(options, part):
    whole = pillow(LARGE, "JPEG", quality=90, **options)
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(whole[: int(len(whole) * part)] + b"\xff\xd9")


def test_a_progressive_jpeg_without_its_last_scan_is_an_error():
    whole = pillow(LARGE, "JPEG", progressive=True)
    for scan in (whole.index(b"\xff\xda", whole.index(b"\xff\xda") + 1), whole.rindex(b"\xff\xda")):
        with pytest.raises(ImageError, match="broken or truncated"):
            decode_image(whole[:scan] + b"\xff\xd9")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_a_piece_in_the_middle_is_an_error(progressive):
    whole = pillow(LARGE, "JPEG", quality=90, progressive=progressive)
    middle = len(whole) // 2
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(whole[:middle] + whole[middle + 2000 :])


def _icc(number: int, count: int) -> bytes:
    return b"\xff\xe2\x00\x1aICC_PROFILE\0" + bytes([number, count]) + bytes(10)


def _adobe(transform: int) -> bytes:
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])


def _after_start(whole: bytes, more: bytes) -> bytes:
    return whole[:2] + more + whole[2:]


ODD = {
    "ICC, 1 of 2": lambda whole: _after_start(whole, _icc(1, 2)),
    "ICC, 3 of 2": lambda whole: _after_start(whole, _icc(1, 2) + _icc(3, 2)),
    "JFIF 3": lambda whole: whole.replace(b"JFIF\0\x01", b"JFIF\0\x03", 1),
    "unknown transform": lambda whole: _after_start(whole, _adobe(7)),
    "bytes between segments": lambda whole: whole.replace(b"\xff\xdb", b"\0\1\2\xff\xdb", 1),
    "zeros before the end": lambda whole: whole[:-2] + bytes(9) + whole[-2:],
    "all of them": lambda whole: _after_start(whole, _icc(2, 1) + b"\0" + _adobe(9))[:-2] + bytes(3) + b"\xff\xd9more",
}


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("odd", ODD)
def test_a_whole_jpeg_with_odd_markers_is_read(options, odd):
    whole = pillow(LARGE, "JPEG", quality=90, **options)
    changed = ODD[odd](whole)
    assert changed != whole
    assert np.array_equal(decode_image(changed), decode_image(whole))


@pytest.mark.parametrize("odd", ODD)
def test_ink_colours_and_grey_survive_odd_markers(odd):
    for whole in (pillow(LARGE, "JPEG", **INKS), pillow(LARGE[:, :, 0], "JPEG")):
        assert np.array_equal(decode_image(ODD[odd](whole)), decode_image(whole))


@pytest.mark.parametrize("part", [0.4, 0.7, 0.95])
@pytest.mark.parametrize("odd", ODD)
def test_odd_markers_do_not_hide_missing_parts(odd, part):
    whole = pillow(LARGE, "JPEG", quality=90)
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(ODD[odd](whole[: int(len(whole) * part)] + b"\xff\xd9"))


# What makes reading a file cost more than its size


def test_a_jpeg_of_too_many_scans_is_refused():
    whole = pillow(LARGE, "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    scan = whole[last:-2]
    assert decode_image(whole).shape == LARGE.shape
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_SCANS} scans"):
        decode_image(whole[:last] + scan * MAX_SCANS + whole[-2:])


def test_scan_markers_inside_comments_are_not_counted():
    whole = pillow(LARGE, "JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 2 * MAX_SCANS) + b"\xff\xda" * MAX_SCANS
    pixels = decode_image(whole[:2] + comment + whole[2:] + b"\xff\xda\0\2" * 2 * MAX_SCANS)
    assert np.array_equal(pixels, decode_image(whole))


def test_a_jpeg_of_too_many_segments_is_refused():
    whole = pillow(RGB, "JPEG")
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_SEGMENTS} segments"):
        read_header(whole[:2] + b"\xff\xe5\0\2" * (MAX_SEGMENTS + 1) + whole[2:])


def with_frame(marker: int, bits: int = 8, components: int = 3) -> bytes:
    """A JPEG whose frame header claims another coding, depth or number of components."""
    data = bytearray(pillow(RGB, "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4], data[at + 9] = marker, bits, components
    return bytes(data)


@pytest.mark.parametrize("marker", [0xC3, 0xC7, 0xC9, 0xCB])
def test_lossless_and_arithmetic_jpegs_are_refused_by_name(marker):
    with pytest.raises(UnsupportedImage, match="not lossless or arithmetic"):
        decode_image(with_frame(marker))


@pytest.mark.parametrize(("bits", "components"), [(12, 3), (8, 2), (16, 1)])
def test_jpegs_of_other_bits_or_components_are_refused_by_name(bits, components):
    with pytest.raises(UnsupportedImage, match=rf"of {bits} bits and {components} component\(s\) are not accepted"):
        decode_image(with_frame(0xC0, bits, components))


def test_an_adobe_transform_of_inks_in_three_colours_is_corrected():
    data = pillow(RGB, "JPEG", quality=95)
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x02"
    assert np.array_equal(decode_image(data[:2] + adobe + data[2:]), decode_image(data))
