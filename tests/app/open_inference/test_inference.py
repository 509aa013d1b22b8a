import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from model.images.decoding import decode_image
from model.segmenter import Segmenter
from tests.support.open_inference import (
    MODEL,
    SIZE,
    MakeImage,
    ToFile,
    error,
    image_tensor,
    infer,
    pixel_tensor,
    read_outputs,
)


@pytest.mark.parametrize("binary", [True, False])
def test_all_outputs_are_returned_if_none_is_requested(
    client: TestClient, segmenter: Segmenter, png: bytes, binary: bool
):
    response = infer(client, image_tensor(png), parameters={"binary_data_output": binary}, id="the id")
    outputs, picture = read_outputs(response), decode_image(png)
    assert list(outputs) == ["mask", "probability", "mask_png"]
    assert np.array_equal(outputs["mask"][0, 0], segmenter.mask(picture))
    assert np.array_equal(outputs["probability"][0], segmenter.probabilities(picture))
    file = outputs["mask_png"][4:] if binary else base64.b64decode(outputs["mask_png"][0])
    assert np.array_equal(decode_image(file), segmenter.mask(picture))
    head = json.loads(response.content[: int(response.headers.get("inference-header-content-length", 10**9))])
    assert (head["model_name"], head["model_version"], head["id"]) == ("small-net", "1", "the id")
    assert response.headers["x-model"].startswith("small-net@")
    assert response.headers["server-timing"].startswith("decode;dur=")


def test_outputs_come_as_they_are_asked_for(client: TestClient, png: bytes):
    asked = [
        {"name": "probability"},
        {"name": "mask", "parameters": {"binary_data": False}},
    ]
    response = infer(client, image_tensor(png), outputs=asked, parameters={"binary_data_output": True})
    head = json.loads(response.content[: int(response.headers["inference-header-content-length"])])
    assert [(output["name"], "data" in output) for output in head["outputs"]] == [
        ("probability", False),
        ("mask", True),
    ]
    assert "id" not in head
    assert read_outputs(response).keys() == {"probability", "mask"}


def test_a_net_of_several_classes_gives_indices_and_all_probabilities(
    serve: Callable[..., TestClient], classes_path: Path, png: bytes
):
    client = serve(weights=classes_path)
    outputs = read_outputs(infer(client, image_tensor(png), path="/v2/models/three-classes"))
    assert outputs["probability"].shape == (1, 3, *SIZE)
    assert np.array_equal(outputs["mask"][0, 0], outputs["probability"][0].argmax(axis=0))


def test_outputs_of_a_net_that_downsamples_have_the_images_size(
    serve: Callable[..., TestClient], half_scale_path: Path, png: bytes
):
    client = serve(weights=half_scale_path)
    outputs = read_outputs(infer(client, image_tensor(png), path="/v2/models/half-scale"))
    assert outputs["mask"].shape == outputs["probability"].shape == (1, 1, *SIZE)


@given(threshold=st.floats(0.001, 0.999))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_threshold_is_the_requests(client: TestClient, segmenter: Segmenter, png: bytes, threshold: float):
    outputs = read_outputs(infer(client, image_tensor(png), parameters={"threshold": threshold}))
    assert np.array_equal(outputs["mask"][0, 0], segmenter.mask(decode_image(png), threshold))
    assert np.array_equal(outputs["mask"] == 255, outputs["probability"] >= np.float32(threshold))


def test_images_of_several_sizes_are_accepted_only_as_files(
    client: TestClient, segmenter: Segmenter, make_image: MakeImage, to_file: ToFile
):
    pictures = [make_image(20, 30), make_image(30, 20)]
    tensor = image_tensor(*map(to_file, pictures))
    assert "several sizes" in error(infer(client, tensor), 400)
    files = read_outputs(infer(client, tensor, outputs=[{"name": "mask_png"}]))["mask_png"]
    for picture, file in zip(pictures, files, strict=True):
        assert np.array_equal(decode_image(base64.b64decode(file)), segmenter.mask(picture))


def test_bits_that_a_file_states_are_used_as_by_segment(client: TestClient, make_image: MakeImage):
    out = io.BytesIO()
    dark = make_image(*SIZE, dtype=np.uint16) // 70  # below 2^10
    tifffile.imwrite(out, dark, ome=True, metadata={"axes": "YX", "SignificantBits": 12})
    file = out.getvalue()
    inferred = read_outputs(infer(client, image_tensor(file)))["probability"][0, 0]
    response = client.post("/segment?output=probability", files={"file": ("dark.tif", file)})
    assert "12 of 16 bits" in response.headers["x-notice"]
    assert np.abs(inferred - decode_image(response.content) / 65535).max() < 1e-4


@given(data=st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_body_is_answered_or_refused(client: TestClient, png: bytes, data: st.DataObject):
    tensor, binary = image_tensor(png)
    text = json.dumps({"inputs": [tensor]}).encode()
    body = bytearray(text + binary)
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    headers = {"Inference-Header-Content-Length": str(len(text) + data.draw(st.integers(-2, 2)))}
    assert client.post(f"{MODEL}/infer", content=bytes(body), headers=headers).status_code in (200, 400, 415)


def test_more_pixels_than_are_allowed_in_all_are_refused(
    serve: Callable[..., TestClient], make_image: MakeImage, to_file: ToFile
):
    client, file = serve(max_pixels=700), to_file(make_image(20, 30))
    assert infer(client, image_tensor(file)).status_code == 200
    assert "1200 pixels, more than 700" in error(infer(client, image_tensor(file, file)), 400)
    assert "more than 700" in error(infer(client, pixel_tensor(np.ones((2, 1, 20, 30)))), 400)


def test_a_stack_is_refused_as_a_tensor_element(client: TestClient, make_image: MakeImage, to_file: ToFile):
    stack = to_file(make_image(8, 8), "TIFF", save_all=True, append_images=[Image.fromarray(make_image(8, 8))])
    assert "one page" in error(infer(client, image_tensor(stack)), 400)
