from typing import Any

import numpy as np
import pytest

from app.decode import measure
from app.problems import Problem
from app.server_kit.array_pages import ArrayAxes, axes_of, check_pixels, decode_array, joined, place_of
from model.inputs.preprocessing import Preprocessing
from model.unet import UNetConfig
from model.weights_file import Description
from tests.support.server_kit import tiff

DESCRIPTION = Description(name="net", architecture=UNetConfig(width=4, depth=1), preprocessing=Preprocessing())
SIZE = (6, 9)


def _array(*shape: int, dtype: Any = np.uint8) -> Any:
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "leading"),
    [
        (SIZE, ()),
        ((*SIZE, 3), ()),
        ((*SIZE, 4), ()),
        ((1, *SIZE), (1,)),
        ((2, *SIZE), (2,)),
        ((3, *SIZE), (3,)),
        ((4, *SIZE), (4,)),
        ((5, *SIZE), (5,)),
        ((2, 3, *SIZE), (2, 3)),
        ((3, 2, *SIZE), (3, 2)),
        ((2, *SIZE, 3), (2,)),
        ((3, *SIZE, 3), (3,)),
        ((2, 2, *SIZE, 3), (2, 2)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_axes_before_height_and_width_are_pages(shape: tuple[int, ...], leading: tuple[int, ...], dtype: Any):
    array = _array(*shape, dtype=dtype)
    file = measure(tiff(array), 10**6)
    axes = axes_of(file.header)
    assert axes.leading == leading
    pages = decode_array(file, axes, DESCRIPTION, "").pages
    colours = shape[len(leading) + 2 :]
    expected = array.reshape(-1, *SIZE, *colours)
    assert [page.shape for page in pages] == [page.shape for page in expected]
    if dtype != np.float32:
        assert all(np.array_equal(*pair) for pair in zip(pages, expected, strict=True))
    assert joined([page[:, :, 0] if colours else page for page in pages], axes).shape == (*leading, *SIZE)


@pytest.mark.parametrize(
    "text",
    ['{"shape": [7, 6, 9]}', '{"shape": 5}', '{"shape": [{}]}', '{"shape', '{"shape": [1e400, 6, 9]}', "x"],
)
def test_a_shape_that_contradicts_the_pages_is_ignored(text: str):
    file = measure(tiff(_array(2, *SIZE), description=text, metadata=None), 10**6)
    assert axes_of(file.header) == ArrayAxes((2,))


def test_other_files_have_the_axes_of_their_pages(png: bytes):
    assert axes_of(measure(png, 10**6).header) == ArrayAxes(())
    hyperstack = tiff(_array(2, 3, *SIZE), imagej=True, metadata={"axes": "TZYX"})
    assert axes_of(measure(hyperstack, 10**6).header) == ArrayAxes((6,))


def test_pages_that_are_stored_as_colours_count_as_pages():
    file = measure(tiff(_array(3, *SIZE)), 10**6)
    axes = axes_of(file.header)
    assert check_pixels(file.header, axes, 3 * 54) == 3 * 54
    with pytest.raises(Problem, match="162 pixels, more than 161") as caught:
        check_pixels(file.header, axes, 161)
    assert caught.value.status == 422


def test_pages_that_are_stored_as_colours_have_one_channel():
    file = measure(tiff(_array(3, *SIZE)), 10**6)
    axes = axes_of(file.header)
    assert len(decode_array(file, axes, DESCRIPTION, "0").pages) == 3
    with pytest.raises(Problem, match="no channel 'red'"):
        decode_array(file, axes, DESCRIPTION, "red")


def test_pages_are_counted_along_the_last_axis_first():
    assert [place_of(page, ArrayAxes((2, 3))) for page in (0, 2, 3)] == [[0, 0], [0, 2], [1, 0]]
    assert place_of(0, ArrayAxes(())) == []
