"""The service on a real Ray cluster of two engines: the contract, replicas that die, weights that change."""

import io
import re
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model.inputs.preprocessing import Pixels
from model.outputs.output import OUTPUTS
from model.segmenter import Segmenter
from model.unet import UNet, UNetConfig
from model.weights_file import load_weights, save_weights
from tests.end_to_end.cluster import PATIENCE_S, Cluster, cluster
from tests.end_to_end.conftest import TILE, Server
from tests.end_to_end.http import HTTP
from tests.support.servers import free_port

SMALL: dict[str, Any] = {"threads": 1, "precision": "fp32", "tile": TILE}


@pytest.fixture(scope="module")
def ray(weights_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    limits: dict[str, Any] = {"max_body_bytes": 200_000, "max_pixels": 1_000_000, "max_queue_pixels": 3_000_000}
    with cluster(tmp_path_factory.mktemp("ray"), free_port(), weights=weights_path, **SMALL, **limits) as started:
        yield started


def _to_png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def large() -> bytes:
    """An image of 25 tiles."""
    return _to_png(np.random.default_rng(1).integers(0, 256, (400, 400), np.uint8))


@pytest.fixture(scope="module")
def stack() -> bytes:
    pages = [Image.fromarray(np.random.default_rng(page).integers(0, 256, (150, 70), np.uint8)) for page in range(3)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    return buffer.getvalue()


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("image", ["png", "large"])
def test_answers_are_those_of_the_single_process(
    ray: Cluster, server: Server, output: str, image: str, request: pytest.FixtureRequest
):
    data = request.getfixturevalue(image)
    asked: dict[str, Any] = {"params": {"output": output}, "files": {"file": ("cells.png", data)}}
    here, there = (HTTP.post(f"{url}/segment", **asked) for url in (server.url, ray.url))
    assert (here.status_code, there.status_code) == (200, 200)
    assert there.content == here.content
    for name in ("content-type", "content-disposition", "x-model"):
        assert there.headers[name] == here.headers[name]
    assert "infer;dur=" in there.headers["server-timing"]


def test_a_stack_comes_back_page_by_page(ray: Cluster, server: Server, stack: bytes):
    here, there = (HTTP.post(f"{url}/segment", files={"file": stack}) for url in (server.url, ray.url))
    assert there.status_code == 200
    assert there.content == here.content


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ({"files": {"file": b"no image"}}, 400),
        ({"files": {"other": b"x"}}, 422),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415),
        ({"files": {"file": b"x"}, "params": {"threshold": 2}}, 422),
        ({"content": b"x" * 300_000, "headers": {"content-type": "image/png"}}, 413),
    ],
)
def test_errors_are_those_of_the_single_process(ray: Cluster, server: Server, call: dict[str, Any], status: int):
    here, there = (HTTP.post(f"{url}/segment", **call) for url in (server.url, ray.url))
    assert (here.status_code, there.status_code) == (status, status)
    assert there.headers["content-type"] == "application/problem+json"
    assert there.headers.get_list("x-request-id") == [there.json()["request_id"]]
    assert {**there.json(), "request_id": ""} == {**here.json(), "request_id": ""}


@pytest.mark.parametrize("path", ["/model", "/healthz", "/readyz", "/v2", "/v2/models/small-net", "/", "/openapi.json"])
def test_ray_serve_describes_the_same_service(ray: Cluster, server: Server, path: str):
    here, there = (_without_time(HTTP.get(f"{url}{path}")) for url in (server.url, ray.url))
    assert there == here


def _without_time(answer: httpx.Response) -> str:
    """The text of an answer, without the time at which a net was loaded."""
    assert answer.status_code == 200
    return re.sub(r'"loaded_at":"[^"]*"', "", answer.text)


def test_a_request_id_is_echoed_once(ray: Cluster):
    answer = HTTP.get(f"{ray.url}/healthz", headers={"X-Request-ID": "mine-1"})
    assert answer.headers.get_list("x-request-id") == ["mine-1"]


def test_the_open_inference_protocol_is_there(ray: Cluster, segmenter: Segmenter, pixels: Pixels):
    values = {
        "name": "input",
        "datatype": "FP32",
        "shape": [1, 1, *pixels.shape],
        "data": (pixels / 255).ravel().tolist(),
    }
    call = {"inputs": [values], "outputs": [{"name": "mask"}]}
    answer = HTTP.post(f"{ray.url}/v2/models/small-net/infer", json=call)
    assert answer.status_code == 200, answer.text
    mask = np.array(answer.json()["outputs"][0]["data"]).reshape(pixels.shape)
    assert np.array_equal(mask, segmenter.mask((pixels / 255).astype(np.float32)))


def test_one_image_is_spread_over_both_engines(ray: Cluster, large: bytes):
    before = ray.counters("segment_replica_tiles_total")
    assert HTTP.post(f"{ray.url}/segment", files={"file": large}).status_code == 200
    after = ray.counters("segment_replica_tiles_total")
    gained = [count - before.get(replica, 0) for replica, count in after.items()]
    assert sum(gained) == 25
    assert sum(tiles > 0 for tiles in gained) == 2


def test_a_front_knows_how_many_engines_there_are(ray: Cluster):
    ray.wait_until(lambda: ray.counters("segment_engines") == {"": 2})


def test_a_client_that_leaves_takes_its_tiles_along(ray: Cluster):
    dropped = ray.counters("segment_dropped_tiles_total")[""]
    huge = _to_png(np.zeros((1000, 1000), np.uint8))
    head = b"POST /segment HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(huge)

    def computed() -> float:
        return sum(ray.counters("segment_replica_tiles_total").values())

    def leaves_midway() -> bool:
        before = computed()
        with socket.create_connection(("127.0.0.1", ray.port), PATIENCE_S) as client:
            client.sendall(head + huge)
            ray.wait_until(lambda: computed() > before)
        ray.wait_until(lambda: ray.counters("segment_queue_pixels")[""] == 0)
        return ray.counters("segment_dropped_tiles_total")[""] > dropped

    ray.wait_until(leaves_midway)  # again, if it was done before it was looked


def test_ray_serve_refuses_requests_above_the_queue_limit(ray: Cluster):
    huge = _to_png(np.zeros((1000, 1000), np.uint8))
    with ThreadPoolExecutor(8) as clients:
        sent = [clients.submit(HTTP.post, f"{ray.url}/segment", files={"file": huge}) for _ in range(8)]
        answers = [each.result() for each in sent]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < len(answers)
    for answer in refused:
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"


class Load:
    """What came of requests that were sent without a pause."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        """By status and X-Model."""
        self.masks: defaultdict[tuple[str, int], set[bytes]] = defaultdict(set)
        """By X-Model and the image's number."""


@contextmanager
def _load(url: str, *images: bytes, clients: int = 4) -> Iterator[Load]:
    load, stopped = Load(), threading.Event()

    def send(number: int) -> None:
        with httpx.Client(timeout=PATIENCE_S) as client:
            while not stopped.is_set():
                number = (number + 1) % len(images)
                answer = client.post(f"{url}/segment", files={"file": images[number]})
                label = answer.headers.get("x-model", "")
                load.answers[answer.status_code, label] += 1
                load.masks[label, number].add(answer.content)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _answered(load: Load, more: int) -> Callable[[], bool]:
    """Whether so many more have been since now."""
    enough = load.answers.total() + more
    return lambda: load.answers.total() >= enough


def test_an_engine_that_dies_under_load_costs_no_request(ray: Cluster, png: bytes, large: bytes):
    with _load(ray.url, png, large) as load:
        ray.wait_until(_answered(load, 5))
        dying = ray.replicas("Engine")[0]
        dying.kill()
        ray.wait_until(_answered(load, 20))
        ray.wait_until(lambda: len(engines := ray.replicas("Engine")) == 2 and dying not in engines)
        ray.wait_until(_answered(load, 20))
    assert {status for status, _ in load.answers} == {200}
    assert all(len(masks) == 1 for masks in load.masks.values())


def test_weights_change_under_load_and_no_request_is_lost(ray: Cluster, weights_path: Path, png: bytes, large: bytes):
    weights = load_weights(weights_path)
    other = weights_path.parent.parent / "other.safetensors"
    description = weights.description.model_copy(update={"name": "other", "threshold": 0.6})
    tensors = {name: 1.01 * tensor if tensor.ndim == 4 else tensor for name, tensor in weights.tensors.items()}
    save_weights(other, tensors, description)
    label = load_weights(other).label
    with _load(ray.url, png, large) as load:
        ray.wait_until(_answered(load, 5))
        ray.redeploy(other)
        ray.wait_until(lambda: (200, label) in load.answers)
        ray.wait_until(_answered(load, 20))
    assert load.answers.keys() == {(200, weights.label), (200, label)}
    assert all(len(masks) == 1 for masks in load.masks.values())
    for number in range(2):
        old, new = (load.masks[label, number] for label in (weights.label, label))
        assert old != new
    [front] = ray.replicas("Front")
    front.kill()
    ray.wait_until(lambda: _label(ray) == label)  # a new one begins with the weights that are served
    ray.redeploy(None)
    ray.wait_until(lambda: _label(ray) == weights.label)


def _label(ray: Cluster) -> str:
    answer = HTTP.get(f"{ray.url}/model")
    found = answer.json() if answer.status_code == 200 else {"name": "", "sha256": ""}
    return f"{found['name']}@{found['sha256'][:12]}"


def test_weights_that_cannot_be_used_leave_those_that_are_served(
    ray: Cluster, weights_path: Path, png: bytes, tmp_path: Path
):
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    ray.redeploy(tmp_path / "bad.safetensors")
    ray.wait_until(lambda: "weights stay as they were" in ray.log)
    weights = load_weights(weights_path)
    deep = UNet(UNetConfig(width=1, depth=6))
    description = weights.description.model_copy(update={"architecture": deep.config})
    save_weights(tmp_path / "deep.safetensors", deep.state_dict(), description)
    ray.redeploy(tmp_path / "deep.safetensors")
    ray.wait_until(lambda: re.search(r"Front.*weights stay as they were.*SEGMENT_TILE=", ray.log))
    answer = HTTP.post(f"{ray.url}/segment", files={"file": png})
    assert (answer.status_code, answer.headers["x-model"]) == (200, weights.label)
