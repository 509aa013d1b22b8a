"""The weights of a running service change: requests in flight, broken and half-written files, memory."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from model.images.decoding import decode_image
from model.inputs.preprocessing import Pixels, Values
from model.segmenter import Segmenter
from model.weights_file import load_weights
from tests.end_to_end.conftest import Server
from tests.end_to_end.http import HTTP
from tests.support.small_net import save_small_net

WaitUntil = Callable[[Callable[[], object]], None]

SWAPS, REQUESTS, CLIENTS = 10, 200, 8
PAUSE_S = 0.05  # of a client; without it, the requests take the cores from the changes
LOOK_S = 0.05
TILE = 512  # with large tiles, the canary takes less time


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `served`, which begins with one net. Each test adds newer files, under names of its own."""
    return save_small_net(tmp_path_factory.mktemp("watched") / "weights/net.safetensors").parent


@pytest.fixture(scope="module")
def served(start: Callable[..., Server], folder: Path) -> Iterator[Server]:
    """A server of `folder` that looks often."""
    with ExitStack() as stack:
        yield start(stack, weights=folder, watch_s=LOOK_S, tile=TILE, engine="torch")


def _model(server: Server) -> dict[str, Any]:
    answer = HTTP.get(f"{server.url}/model")
    assert answer.status_code == 200
    model: dict[str, Any] = answer.json()
    return model


def _name(server: Server) -> str:
    name: str = _model(server)["name"]
    return name


def _changes(server: Server) -> dict[str, float]:
    families = text_string_to_metric_families(HTTP.get(f"{server.url}/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return {s.labels["outcome"]: s.value for s in samples if s.name == "segment_weights_changes_total"}


def _put(path: Path, seed: int, name: str = "") -> Path:
    """Saves a net beside the folder and moves it in, newer than all others. `name`: of the net, or that of the file."""
    whole = save_small_net(path.parent.parent / "made" / f"{name or path.stem}.safetensors", seed=seed)
    latest = max((file.stat().st_mtime_ns for file in path.parent.iterdir()), default=0)
    os.utime(whole, ns=(latest + 10**6, latest + 10**6))
    return whole.replace(path)


def test_no_request_is_lost_or_mixed_while_weights_change_ten_times(
    serve: Callable[..., Server], tmp_path: Path, pixels: Pixels, png: bytes, wait_until: WaitUntil
):
    """One of two nets changes. Requests for both are in flight until there were enough of them and of the changes."""
    paths, done = [save_small_net(tmp_path / "weights/net.safetensors")], False
    other = save_small_net(paths[0].with_name("other.safetensors"), seed=SWAPS + 1)
    os.utime(other, (1000, 1000))
    served = serve(weights=paths[0].parent, watch_s=LOOK_S, tile=TILE, engine="auto")
    answers: list[tuple[int, str, bytes]] = []
    models = cycle(["", "net", "other"])

    def send() -> None:
        while not done or len(answers) < REQUESTS:
            answer = HTTP.post(f"{served.url}/segment", params={"model": next(models)}, files={"file": png})
            answers.append((answer.status_code, answer.headers.get("x-model", ""), answer.content))
            time.sleep(PAUSE_S)

    with ThreadPoolExecutor(CLIENTS) as clients:
        sent = [clients.submit(send) for _ in range(CLIENTS)]
        try:
            for number in range(1, SWAPS + 1):
                paths.append(_put(paths[0].with_name(f"{number}.safetensors"), number, "net"))
                sha256 = load_weights(paths[-1]).sha256
                wait_until(lambda sha256=sha256: _model(served)["sha256"] == sha256)  # type: ignore[misc]
                enough = len(answers) + CLIENTS
                wait_until(lambda enough=enough: len(answers) >= enough)  # type: ignore[misc]
        finally:
            done = True
        for each in sent:
            each.result()
    masks = {load_weights(path).label: _mask(path, pixels) for path in (*paths, other)}
    assert len({mask.tobytes() for mask in masks.values()}) == len(masks) == SWAPS + 2
    assert len(answers) >= REQUESTS
    assert Counter(status for status, *_ in answers) == {200: len(answers)}
    assert {label for _, label, _ in answers} == masks.keys()
    assert all(np.array_equal(decode_image(content), masks[label]) for _, label, content in answers)
    assert _changes(served) == {"served": SWAPS, "refused": 0, "unfinished": 0}
    changed = [line for line in served.log if line["event"] == "weights changed"]
    assert [line["file"] for line in changed] == [path.name for path in paths[1:]]
    assert not [line for line in served.log if line["level"] in ("warning", "error")]


def _mask(path: Path, pixels: Values, engine: str = "auto") -> Pixels:
    return Segmenter.load(path, engine=engine, device="cpu", precision="fp32", tile=TILE).mask(pixels)


def test_the_open_inference_protocol_is_consistent_across_a_change(
    served: Server, folder: Path, pixels: Pixels, wait_until: WaitUntil
):
    """Two nets of one name: an answer names the weights that made it."""
    values = {"name": "input", "datatype": "FP32", "shape": [1, 1, *pixels.shape]}
    call = {"inputs": [values | {"data": (pixels / 255).ravel().tolist()}], "outputs": [{"name": "mask"}]}
    expected = {}
    for seed in (1, 2):
        path = _put(folder / "named.safetensors", seed)
        wait_until(lambda path=path: _model(served)["sha256"] == load_weights(path).sha256)  # type: ignore[misc]
        expected[load_weights(path).label] = _mask(path, (pixels / 255).astype(np.float32), "torch")
        answer = HTTP.post(f"{served.url}/v2/models/named/infer", json=call)
        mask = np.array(answer.json()["outputs"][0]["data"]).reshape(pixels.shape)
        assert np.array_equal(mask, expected[answer.headers["x-model"]])
    assert len(expected) == 2


def test_a_broken_file_changes_nothing_and_is_reported_once(
    served: Server, folder: Path, png: bytes, wait_until: WaitUntil
):
    before, refusals = _model(served), _changes(served)["refused"]
    good = save_small_net(folder.parent / "good.safetensors", seed=1).read_bytes()
    (folder / "new.safetensors").write_bytes(good[: len(good) // 2])
    wait_until(lambda: _changes(served)["refused"] > refusals)
    time.sleep(4 * LOOK_S)  # later looks find nothing new
    assert _changes(served)["refused"] == refusals + 1
    after = _model(served)
    refused = after["weights"].pop("refused")
    assert refused["file"] == "new.safetensors"
    assert refused["reason"] == "weights new.safetensors: broken or truncated, or not a safetensors file"
    assert {**after["weights"], "refused": None} == before["weights"]
    warnings = [line for line in served.log if line["level"] == "warning"]
    assert [(line["event"], line["file"]) for line in warnings] == [("weights stay as they were", "new.safetensors")]
    assert HTTP.post(f"{served.url}/segment", files={"file": png}).headers["x-model"].startswith(f"{before['name']}@")


def test_a_file_that_is_written_slowly_is_read_when_it_is_whole(served: Server, folder: Path, wait_until: WaitUntil):
    good = save_small_net(folder.parent / "slow.safetensors", seed=3).read_bytes()
    refusals = _changes(served)["refused"]
    with (folder / "slow.safetensors").open("wb", buffering=0) as file:
        for start in range(0, len(good), len(good) // 40):
            file.write(good[start : start + len(good) // 40])
            time.sleep(LOOK_S / 4)
    wait_until(lambda: _model(served)["weights"]["file"] == "slow.safetensors")
    assert _changes(served)["refused"] == refusals


def test_removing_the_newest_file_goes_back(served: Server, folder: Path, wait_until: WaitUntil):
    first = load_weights(_put(folder / "first.safetensors", 4)).sha256
    wait_until(lambda: _name(served) == "first")
    second = _put(folder / "second.safetensors", 5)
    wait_until(lambda: _name(served) == "second")
    second.unlink()
    wait_until(lambda: _name(served) == "first")
    assert _model(served)["sha256"] == first
