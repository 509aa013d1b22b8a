import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.open_inference import MODEL, MakeImage, ToFile, error, image_tensor, infer, pixel_tensor


def pixels(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1, 1, 2], "data": [0, 1]} | changes]}


def files(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["aGVsbG8="]} | changes]}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "JSON"),
        (b"[" * 1000, "JSON"),
        (pixels(data=[[]] * 2**16), "lists"),
        (pixels(data=[{"": 0}] * 2**15), "objects and names"),
        (b"\xff", "JSON"),
        ([], "body"),
        ({"inputs": []}, "inputs"),
        ({"inputs": pixels()["inputs"] * 2}, "inputs"),
        (pixels(name="other"), "'image', 'input'"),
        (pixels(datatype="FP64"), "FP32"),
        (pixels(shape=[1, 2]), "shape"),
        (pixels(shape=[1, 1, 0, 2]), "shape"),
        (pixels(shape=[1, 1, -1, -2]), "shape"),
        (pixels(shape=[1, 1, 1, 3]), "as many values"),
        (pixels(shape=[1, 1, 10**30, 10**30]), "pixels"),
        (pixels(shape=[5000, 1, 1, 1]), "4096"),
        (pixels(data=None), "neither"),
        (pixels(data={}), "neither"),
        (pixels(data=[[0], [0, 1]]), "unevenly"),
        (pixels(data=["0", "1"]), "numbers"),
        (pixels(data=[0, None]), "numbers"),
        (pixels(data=[0, 10**400]), "numbers"),
        (pixels(data=[True, False]), "numbers"),
        (pixels(parameters={"binary_data_size": 8}), "after the JSON"),
        (pixels(parameters={"binary_data_size": -8}), "binary_data_size"),
        (files(data=["aGVsbG8="]), "not an image"),
        (files(data=["R0lGODlh"]), "GIF"),
        (files(data=["no base64"]), "base64"),
        (files(data=["ünsafe"]), "base64"),
        (files(data=[1]), "base64"),
        (files(data=[["aGVsbG8="]], shape=[1, 1]), "not an image"),
        (files(data=[["aGVsbG8="], []]), "as many files"),
        (files(data=[]), "as many files"),
        (files(shape=[2]), "as many files"),
        (files(shape=[1, 2]), "[N, 1]"),
        (pixels() | {"parameters": {"threshold": 0}}, "threshold"),
        (pixels() | {"parameters": {"threshold": 1}}, "threshold"),
        (pixels() | {"parameters": {"threshold": "high"}}, "threshold"),
        (pixels() | {"outputs": [{"name": "masks"}]}, "'mask_png'"),
        (pixels() | {"outputs": [{"name": "mask", "parameters": {"classification": 1}}]}, "not supported"),
        (
            pixels() | {"outputs": [{"name": "mask", "parameters": {"shared_memory_region": "r"}}]},
            "not supported",
        ),
        (pixels() | {"id": 7}, "id"),
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.usefixtures("still_serving")
def test_a_bad_inference_request_is_refused_with_its_fault(client: TestClient, body: Any, told: str):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    status = 415 if told == "GIF" else 400
    assert told in error(client.post(f"{MODEL}/infer", content=content), status)


@given(length=st.one_of(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])), st.integers().map(str)))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_wrong_length_of_the_json_is_an_error_whatever_it_is(client: TestClient, png: bytes, length: str):
    response = infer(client, image_tensor(png), {"Inference-Header-Content-Length": length})
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        error(response, 400)


def test_json_for_more_values_than_it_is_good_for_is_refused(
    client: TestClient, make_image: MakeImage, to_file: ToFile, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.open_inference.inference.MOST_JSON_VALUES", 1199)
    tensor = image_tensor(to_file(make_image(20, 30)))
    assert "ask for binary data" in error(infer(client, tensor), 400)
    assert infer(client, tensor, outputs=[{"name": "mask"}]).status_code == 200
    assert infer(client, tensor, parameters={"binary_data_output": True}).status_code == 200


def test_more_json_than_is_read_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.open_inference.protocol.MOST_JSON_BYTES", 100)
    assert "binary data" in error(infer(client, pixel_tensor(np.ones((1, 1, 10, 10)), binary=False)), 413)
