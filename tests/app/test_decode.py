from collections.abc import Callable

import numpy as np
import pytest

from app.decode import decode, measure
from app.problems import Problem
from model.inputs.preprocessing import Pixels, Preprocessing
from model.unet import UNetConfig
from model.weights_file import Description

NET = Description(name="any", architecture=UNetConfig(), preprocessing=Preprocessing())


def test_an_image_becomes_its_pixels(make_image: Callable[..., Pixels], to_file: Callable[..., bytes]):
    pixels = make_image(5, 7, channels=3)
    file = measure(to_file(pixels), 35)
    assert file.header.pixels == 35
    [decoded] = decode(file, NET).pages
    assert np.array_equal(decoded, pixels)


def test_the_pixel_limit_is_the_largest_that_is_accepted(
    make_image: Callable[..., Pixels], to_file: Callable[..., bytes]
):
    with pytest.raises(Problem) as caught:
        measure(to_file(make_image(5, 7)), 34)
    assert caught.value.status == 422
    assert "7 x 5" in caught.value.detail


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"", 400), (b"hello", 400), (b"\x89PNG\r\n\x1a\n", 400), (b"GIF89a", 415), (b"II+\x00", 400), (b"%PDF-1.7", 415)],
)
def test_each_kind_of_bad_file_has_its_status(data: bytes, status: int):
    with pytest.raises(Problem) as caught:
        measure(data, 100)
    assert caught.value.status == status


def test_every_page_counts_against_the_pixel_limit(make_image: Callable[..., Pixels], to_file: Callable[..., bytes]):
    from PIL import Image

    page = Image.fromarray(make_image(10, 10))
    tiff = to_file(make_image(10, 10), "TIFF", save_all=True, append_images=[page, page])
    with pytest.raises(Problem) as small:
        measure(tiff, 299)
    assert small.value.status == 422
    assert small.value.detail == "The image has 300 pixels on 3 page(s), more than 299 in all."
    assert [page.shape for page in decode(measure(tiff, 300), NET).pages] == [(10, 10)] * 3


@pytest.mark.parametrize(("damage", "status"), [("truncated", 400), ("too many scans", 415)])
def test_errors_found_while_decoding_keep_their_status(
    damage: str, status: int, make_image: Callable[..., Pixels], to_file: Callable[..., bytes]
):
    whole, end = to_file(make_image(60, 80, channels=3), "JPEG", progressive=True), b"\xff\xd9"
    last = whole.rindex(b"\xff\xda")
    data = whole[: last - 300] if damage == "truncated" else whole[:last] + whole[last:-2] * 101
    data += end
    file = measure(data, 4800)
    with pytest.raises(Problem) as caught:
        decode(file, NET)
    assert caught.value.status == status
