from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from model.segmenter import Segmenter
from tests.support.open_inference import (
    MASK,
    SIZE,
    MakeImage,
    ToFile,
    error,
    image_tensor,
    infer,
    pixel_tensor,
    read_outputs,
)


@pytest.fixture(scope="module")
def zscore_client(start: Callable[..., TestClient], zscore_path: Path) -> Iterator[TestClient]:
    with ExitStack() as stack:
        yield start(stack, weights=zscore_path)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("dtype", "factor"),
    [(np.uint8, 1), (np.uint8, 1 / 255), (np.uint8, np.float32(1 / 255)), (np.uint16, 1), (np.uint16, 1 / 65535)],
)
def test_pixel_values_of_any_scale_give_the_mask_of_the_same_file(
    client: TestClient, segmenter: Segmenter, make_image: MakeImage, dtype: Any, factor: float, binary: bool
):
    image = make_image(40, 50, dtype=dtype)
    outputs = read_outputs(infer(client, pixel_tensor(image[None, None] * np.float32(factor), binary), outputs=MASK))
    assert np.array_equal(outputs["mask"], segmenter.mask(image)[None, None])
    assert len(np.unique(outputs["mask"])) == 2


def test_colour_values_give_a_grey_net_the_mask_of_the_same_file(
    client: TestClient, make_image: MakeImage, to_file: ToFile
):
    colour = make_image(*SIZE, 3)
    masks = [
        read_outputs(infer(client, tensor))["mask"]
        for tensor in (image_tensor(to_file(colour)), pixel_tensor(colour.transpose(2, 0, 1)[None] / 255))
    ]
    assert np.array_equal(*masks)


@pytest.mark.parametrize(("factor", "shift"), [(1e-3, 0), (1, -100), (1 / 60, -2), (1e6, -1e8)])
def test_scale_means_nothing_to_a_net_of_zscored_input(
    zscore_client: TestClient,
    make_segmenter: Callable[..., Segmenter],
    zscore_path: Path,
    make_image: MakeImage,
    factor: float,
    shift: float,
):
    image = make_image(*SIZE)
    expected = make_segmenter(zscore_path).probabilities(image)
    response = infer(
        zscore_client, pixel_tensor(np.float64(image[None, None]) * factor + shift), path="/v2/models/zscore-net"
    )
    assert np.abs(read_outputs(response)["probability"][0] - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("values", "told"),
    [(np.nan, "finite"), (np.inf, "finite"), (1e300, "finite"), (-0.1, "0..1"), (65536, "65535")],
)
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.usefixtures("still_serving")
def test_values_outside_the_pixel_range_are_refused(client: TestClient, values: float, told: str, binary: bool):
    with np.errstate(over="ignore"):
        tensor, data = pixel_tensor(np.full((1, 1, 2, 2), values), binary)
    if not binary:
        tensor["data"] = [values] * 4
    assert told in error(infer(client, (tensor, data)), 400)


def test_channels_that_the_net_does_not_take_are_refused(
    client: TestClient, serve: Callable[..., TestClient], stored_channels_path: Path, png: bytes
):
    assert "1 or 3, not 2" in error(infer(client, pixel_tensor(np.ones((1, 2, 3, 3)))), 400)
    stored = serve(weights=stored_channels_path)
    assert "3, not 1" in error(
        infer(stored, pixel_tensor(np.ones((1, 1, 3, 3))), path="/v2/models/three-channels"), 400
    )
    assert "3 channels" in error(infer(stored, image_tensor(png), path="/v2/models/three-channels"), 400)
