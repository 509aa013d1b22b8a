import json
from typing import Any

import numpy as np
import pytest

from app.problems import Problem
from app.server_kit.layers import read_layers
from model.inputs.preprocessing import Preprocessing
from model.unet import UNetConfig
from model.weights_file import Description
from tests.support.server_kit import image_layer, parameter, tiff

FILE = tiff(np.zeros((4, 5), np.uint8))
IMAGE = image_layer(FILE)
DESCRIPTION = Description(
    name="net",
    architecture=UNetConfig(width=4, depth=1),
    preprocessing=Preprocessing(),
    threshold=0.4567,
    min_area=7,
)


def _read(*layers: Any, headers: dict[str, str] | None = None) -> Any:
    return read_layers(json.dumps(layers).encode(), DESCRIPTION, headers or {})


def test_an_image_without_parameters_gives_the_mask():
    request = _read(IMAGE)
    assert request.image == FILE
    assert request.output_spec.output == "mask"
    assert not request.polygons


def test_the_values_that_a_dialog_shows_first_stand_for_none():
    spec = _read(IMAGE, parameter("threshold", 0.46), parameter("min_area", 7)).output_spec
    assert (spec.threshold, spec.min_area) == (None, None)


def test_other_values_are_taken_as_they_are():
    spec = _read(IMAGE, parameter("threshold", 0.4567), parameter("min_area", 0.0)).output_spec
    assert (spec.threshold, spec.min_area) == (0.4567, 0)


def test_parameters_without_data_are_as_if_they_were_not_there():
    assert _read(IMAGE, parameter("threshold", None), parameter("unknown", None)) == _read(IMAGE)


@pytest.mark.parametrize(
    ("output", "rendered"), [("mask", "instances"), ("boxes", "instances"), ("probability", "probability")]
)
def test_qupath_gets_objects_for_masks(output: str, rendered: str):
    request = _read(
        IMAGE | {"name": "image-qupath"}, parameter("output", output), headers={"user-agent": "Java/QuPath"}
    )
    assert request.polygons
    assert request.output_spec.output == rendered


@pytest.mark.parametrize(
    ("layers", "status", "said"),
    [
        ((), 422, "has 0 images: send one layer of kind image"),
        ((parameter("image", "x"),), 422, "There is no parameter image; the parameters are output, threshold"),
        ((IMAGE, IMAGE), 422, "has 2 images"),
        ((IMAGE, parameter("sigma", 1)), 422, "no parameter sigma"),
        ((IMAGE, parameter("threshold", 1.5)), 422, "Parameter threshold: Input should be less than 1"),
        ((IMAGE, parameter("threshold", [0.5])), 422, "Parameter threshold"),
        ((IMAGE, parameter("threshold", 0.1), parameter("threshold", 0.2)), 422, "threshold is given twice"),
        ((IMAGE, parameter("output", "tracks")), 422, "Parameter output: Input should be 'mask'"),
        ((IMAGE, parameter("class_index", 1)), 422, "Parameter class_index: the net's classes are 0 to 0"),
        ((IMAGE | {"data": "no base64!"},), 400, "base64 of an image file"),
        ((IMAGE | {"data": "SUkq*"},), 400, "base64 of an image file"),
        ((IMAGE | {"data": "ü"},), 400, "base64 of an image file"),
        ((IMAGE | {"data": {"__ndarray__": "SUkq"}},), 400, "base64 of an image file"),
        (("image",), 400, "a list of layers. 0: Input should be"),
        (({"kind": "image"},), 400, "a list of layers. 0.name: Field required"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_layers_are_refused_by_name(layers: tuple[Any, ...], status: int, said: str):
    with pytest.raises(Problem) as caught:
        _read(*layers)
    assert caught.value.status == status
    assert said in caught.value.detail


@pytest.mark.parametrize("body", [b"", b"\x00", b"{}", b'[{"kind"', b"[" * 1000, b"\xff\xfe", b'"image"', b"null"])
def test_a_body_that_is_no_list_of_layers_is_refused(body: bytes):
    with pytest.raises(Problem, match="list of layers") as caught:
        read_layers(body, DESCRIPTION, {})
    assert caught.value.status == 400


def test_a_body_of_many_parts_is_refused_before_it_is_parsed():
    with pytest.raises(Problem, match="send one image"):
        read_layers(b"[" * 100_000, DESCRIPTION, {})
