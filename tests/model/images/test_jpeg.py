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
