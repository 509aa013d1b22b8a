"""Several nets in one service; tests/end_to_end/test_several_nets.py has them under load."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.service import Service
from model.images.decoding import decode_image
from model.inputs.preprocessing import Pixels
from model.segmenter import Segmenter
from tests.support.server_kit import image_layer, read_layer, tiff

NAMES = ("small-net", "three-classes", "three-channels")


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, weights_path: Path, classes_path: Path, stored_channels_path: Path
) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    for age, path in enumerate((weights_path, classes_path, stored_channels_path)):
        os.utime(shutil.copy(path, folder), (1000 - age, 1000 - age))
    return folder


@pytest.fixture(scope="module")
def client(start: Callable[..., TestClient], folder: Path) -> Any:
    with ExitStack() as stack:
        yield start(stack, weights=folder, watch_s=0)


def test_all_nets_are_listed_the_default_first(client: TestClient):
    listed = client.get("/models").json()
    default = client.get("/model").json()
    assert (listed["default"], tuple(model["name"] for model in listed["models"])) == (NAMES[0], NAMES)
    assert listed["models"][0] == default
    assert [model["is_default"] for model in listed["models"]] == [True, False, False]
    assert all(model["loaded"] for model in listed["models"])
    assert listed["refused"] == []  # the tile of this service is too small for the bundled nets, which are left out


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["query", "form"])
def test_a_request_chooses_a_net_by_its_name(
    client: TestClient,
    folder: Path,
    name: str,
    place: str,
    make_image: Callable[..., Pixels],
    to_file: Callable[..., bytes],
    make_segmenter: Callable[..., Segmenter],
):
    image = make_image(150, 100, 3) if name == "three-channels" else make_image(150, 100)
    chosen: dict[str, Any] = {"params" if place == "query" else "data": {"model": name}}
    answer = client.post("/segment", files={"file": to_file(image)}, **chosen)
    assert answer.status_code == 200
    assert answer.headers["x-model"].startswith(f"{name}@")
    assert np.array_equal(decode_image(answer.content), make_segmenter(folder / f"{name}.safetensors").mask(image))


def test_parameters_are_checked_against_the_chosen_net(client: TestClient, png: bytes):
    parameters = {"output": "probability", "class": "2"}
    chosen: list[dict[str, Any]] = [{"params": parameters | {"model": NAMES[1]}}]
    chosen += [{"params": parameters, "data": {"model": NAMES[1]}}]
    for each in chosen:
        assert client.post("/segment", files={"file": png}, **each).status_code == 200
    refused = client.post("/segment", files={"file": png}, params=parameters)
    assert (refused.status_code, "classes are 0 to 0" in refused.text) == (422, True)


@pytest.mark.parametrize("chosen", [{"params": {"model": "other"}}, {"data": {"model": "other"}}])
@pytest.mark.parametrize("call", ["/segment", "/labels"])
def test_an_unknown_name_is_refused_with_the_names_that_there_are(
    start: Callable[..., TestClient],
    folder: Path,
    tmp_path: Path,
    png: bytes,
    chosen: dict[str, Any],
    call: str,
):
    with ExitStack() as stack:
        client = start(stack, weights=folder, watch_s=0, labels=tmp_path)
        files = {"file": png} if call == "/segment" else {"image": png, "label": png}
        answer = client.post(call, files=files, **chosen)
    assert answer.status_code == 422
    assert answer.json()["detail"] == f"There is no model other; the models are {', '.join(NAMES)}."


def test_the_open_inference_protocol_has_all_nets(client: TestClient):
    listed = client.post("/v2/repository/index").json()
    assert listed == [{"name": name, "version": "1", "state": "READY", "reason": ""} for name in NAMES]
    for name in NAMES:
        assert client.get(f"/v2/models/{name}/ready").json() == {"name": name, "ready": True}
    assert client.get("/v2/models/three-classes").json()["outputs"][1]["shape"] == [-1, 3, -1, -1]
    missing = client.get("/v2/models/other")
    assert (missing.status_code, missing.json()["error"]) == (
        404,
        f"There is no such model; the models are {', '.join(NAMES)}, each in version 1.",
    )


def test_nets_beyond_the_budget_take_turns_in_memory(
    serve: Callable[..., TestClient],
    service_of: Callable[[TestClient], Service],
    folder: Path,
    png: bytes,
    make_segmenter: Callable[..., Segmenter],
):
    client = serve(weights=folder, watch_s=0, max_nets_bytes=1)
    names = NAMES[:2]
    expected = [make_segmenter(folder / f"{name}.safetensors").mask(decode_image(png)) for name in names]

    def ask(number: int) -> bool:
        answer = client.post("/segment", params={"model": names[number % 2]}, files={"file": png})
        return np.array_equal(decode_image(answer.content), expected[number % 2])

    assert [model["loaded"] for model in client.get("/models").json()["models"]] == [True, False, False]
    with ThreadPoolExecutor(4) as clients:
        assert all(clients.map(ask, range(12)))
    assert sum(model["loaded"] for model in client.get("/models").json()["models"]) == 1
    metrics = service_of(client).metrics.registry
    assert (metrics.get_sample_value("segment_net_evictions_total") or 0) >= 1
    assert metrics.get_sample_value("segment_queue_pixels") == 0


def test_a_net_that_cannot_be_loaded_again_is_a_503(
    serve: Callable[..., TestClient], folder: Path, tmp_path: Path, png: bytes, check_problem: Callable[..., Any]
):
    shutil.copytree(folder, tmp_path / "nets")
    client = serve(weights=tmp_path / "nets", watch_s=0, max_nets_bytes=1)
    (tmp_path / "nets" / "three-classes.safetensors").unlink()
    for _ in range(2):
        check_problem(client.post("/segment", params={"model": "three-classes"}, files={"file": png}), 503)
    assert client.post("/segment", files={"file": png}).status_code == 200


def test_each_net_is_an_algorithm_for_plugins(client: TestClient, make_image: Callable[..., Pixels]):
    assert client.get("/algorithms").json() == {"algorithms": list(NAMES)}
    for name, threshold in zip(NAMES, (True, False, True), strict=True):
        assert ("threshold" in client.get(f"/{name}/signature").json()) is threshold
    layers = [image_layer(tiff(make_image(20, 30)))]
    response = client.post("/three-classes/process", json=layers)
    assert read_layer(response)["name"] == "three-classes mask"
    assert response.headers["x-model"].startswith("three-classes@")
