import imagecodecs
import pytest

from model.images.image_errors import ImageError
from model.images.jpeg_2000 import check_jpeg_2000_part
from tests.support.image_files import GREY, RGB, H, W


@pytest.mark.parametrize("codecformat", ["j2k", "jp2"])
@pytest.mark.parametrize("pixels", [GREY, RGB])
def test_a_whole_picture_passes(pixels, codecformat):
    data = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat=codecformat))
    check_jpeg_2000_part(data, H * W)
    check_jpeg_2000_part(data + b"\0", H * W)


def test_a_cut_picture_is_an_error():
    data = bytes(imagecodecs.jpeg2k_encode(RGB, codecformat="j2k"))
    for end in (0, 3, 20, len(data) // 2, len(data) - 2):
        with pytest.raises(ImageError):
            check_jpeg_2000_part(data[:end], H * W)


def test_a_picture_that_is_larger_than_its_tile_is_an_error():
    with pytest.raises(ImageError):
        check_jpeg_2000_part(bytes(imagecodecs.jpeg2k_encode(RGB)), H * W - 1)
