import asyncio
import gc
import logging
import os
import shutil
import time
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.local_backend import LocalBackend
from app.local_scheduler import LocalScheduler
from app.served_net import RefusedFile, ServedNet
from app.service import Service
from app.weights_source import FileState
from app.weights_watcher import WeightsWatcher
from model.engines.choice import BUNDLED_NETS
from model.engines.graph_weights import load_any
from model.images.decoding import decode_image
from model.inputs.preprocessing import Pixels
from model.segmenter import Segmenter
from model.weights_file import load_weights, save_weights
from tests.support.small_net import save_small_net

MakeImage = Callable[..., Pixels]


@dataclass
class Watched:
    """A running service, and a watcher that looks when it is asked to."""

    client: TestClient
    service: Service
    watcher: WeightsWatcher
    folder: Path

    def look_twice(self) -> None:
        self.watcher.look()
        self.watcher.look()

    def add(self, name: str, **net: Any) -> Path:
        """Saves a net as the newest file of the folder."""
        return self.newest(save_small_net(self.folder / f"{name}.safetensors", **net))

    def newest(self, path: Path) -> Path:
        latest = max((file.stat().st_mtime_ns for file in self.folder.iterdir()), default=0)
        os.utime(path, ns=(latest + 10**9, latest + 10**9))
        return path

    @property
    def served(self) -> str:
        name: str = self.client.get("/model").json()["name"]
        return name

    def changes(self, outcome: str) -> float:
        value = self.service.metrics.registry.get_sample_value("segment_weights_changes_total", {"outcome": outcome})
        assert value is not None
        return value


def _segmenter_of(net: ServedNet) -> Segmenter | None:
    assert isinstance(net.scheduler, LocalScheduler)
    return net.scheduler.segmenter


def _watcher(service: Service, source: Path, pause_s: float = 60) -> WeightsWatcher:
    assert isinstance(service.computing, LocalBackend)
    return WeightsWatcher(service, service.computing, source, pause_s)


@pytest.fixture
def watched(serve: Callable[..., TestClient], tmp_path: Path) -> Watched:
    """A service of a folder that holds the net `first`. With large tiles, the canary takes less time."""
    save_small_net(tmp_path / "first.safetensors")
    client = serve(weights=tmp_path, watch_s=0, tile=512)
    assert isinstance(client.app, FastAPI)
    service: Service = client.app.state.service
    watched = Watched(client, service, _watcher(service, tmp_path), tmp_path)
    watched.look_twice()
    assert watched.service.refused == ()
    return watched


def test_a_new_file_is_served_when_two_looks_find_it_alike(watched: Watched, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "app")
    former = watched.client.get("/model").json()
    path = watched.add("second", seed=1)
    watched.watcher.look()
    assert watched.served == "first"
    watched.watcher.look()
    model = watched.client.get("/model").json()
    assert (model["name"], model["sha256"]) == ("second", load_weights(path).sha256)
    assert model["weights"]["file"] == "second.safetensors"
    assert model["weights"]["former"] == {
        "file": "first.safetensors",
        "model": f"first@{former['sha256'][:12]}",
    }
    assert model["weights"]["refused"] is None
    assert model["weights"]["loaded_at"] > former["weights"]["loaded_at"]
    [line] = [record for record in caplog.records if record.message == "weights changed"]
    fields: dict[str, Any] = line.fields  # type: ignore[attr-defined]
    assert (fields["file"], fields["model"]) == ("second.safetensors", load_weights(path).label)
    assert watched.changes("served") == 1
    metrics = watched.client.get("/metrics").text
    assert f'model="{load_weights(path).label}"' in metrics
    assert 'model="first@' not in metrics


def test_a_file_that_still_grows_is_never_read(watched: Watched, monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []

    def noting(path: Path) -> Any:
        read.append(path.stat().st_size)
        return load_any(path)

    monkeypatch.setattr("app.local_backend.load_any", noting)
    whole = save_small_net(watched.folder / "elsewhere/whole.safetensors", seed=1).read_bytes()
    path = watched.folder / "copy.safetensors"
    for end in range(0, len(whole), len(whole) // 7):
        path.write_bytes(whole[:end])
        watched.watcher.look()
    path.write_bytes(whole)
    watched.look_twice()
    assert read == [len(whole)]
    assert watched.client.get("/model").json()["sha256"] == load_weights(path).sha256
    assert watched.changes("refused") == 0


def test_a_file_that_changes_while_it_is_read_is_not_served(watched: Watched, monkeypatch: pytest.MonkeyPatch):
    path = watched.add("second", seed=1)

    def changing(path: Path) -> Any:
        weights = load_any(path)
        shutil.copyfile(watched.folder / "first.safetensors", path)
        return weights

    with monkeypatch.context() as patch:
        patch.setattr("app.local_backend.load_any", changing)
        watched.look_twice()
    assert watched.served == "first"
    assert watched.service.refused == ()
    save_small_net(path, seed=1)
    watched.look_twice()
    assert watched.served == "second"


def _broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _pickle(path: Path) -> None:
    path.write_bytes(b"\x80\x04 a pickle")


def _overflowing(path: Path) -> None:
    weights = load_weights(path)
    huge = {name: 1e30 * tensor if tensor.ndim == 4 else tensor for name, tensor in weights.tensors.items()}
    save_weights(path, huge, weights.description)


def _too_deep(path: Path) -> None:
    save_small_net(path, depth=6)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_broken, "broken or truncated"),
        (_pickle, "a pickle"),
        (_overflowing, "a test image has probabilities that are not finite"),
        (_too_deep, "SEGMENT_TILE=512"),
    ],
)
def test_a_file_that_cannot_be_served_changes_nothing_and_is_reported(
    watched: Watched, spoil: Callable[[Path], None], reason: str, caplog: pytest.LogCaptureFixture, png: bytes
):
    path = watched.add("second", seed=1)
    spoil(path)
    watched.newest(path)
    before = watched.service.net
    for _ in range(4):
        watched.watcher.look()
    assert watched.service.net is before
    model = watched.client.get("/model").json()
    assert model["name"] == "first"
    assert model["weights"]["refused"]["file"] == "second.safetensors"
    assert reason in model["weights"]["refused"]["reason"]
    assert str(watched.folder) not in str(model)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert watched.changes("refused") == 1
    assert watched.client.post("/segment", files={"file": png}).headers["x-model"] == before.label
    save_small_net(path, seed=1)  # corrected
    watched.newest(path)
    watched.look_twice()
    assert watched.served == "second"
    assert watched.service.refused == ()


def test_an_engine_that_fails_on_new_weights_is_no_reason_to_stop(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory at /secret/place")

    monkeypatch.setattr(LocalBackend, "load", failing)
    watched.add("second", seed=1)
    watched.look_twice()
    refused = watched.client.get("/model").json()["weights"]["refused"]
    assert refused == {
        "file": "second.safetensors",
        "reason": "the engine failed on these weights; the log says why",
    }
    assert "out of memory" in caplog.text


def test_weights_of_an_unfinished_training_are_not_picked_up(watched: Watched, caplog: pytest.LogCaptureFixture):
    path = watched.add("second", seed=1, reached={"step": 5, "steps": 10, "finished": False})
    watched.look_twice()
    assert watched.served == "first"
    assert watched.service.refused == (RefusedFile(path.name, "the training of these weights has not ended"),)
    assert caplog.records == []  # a line at level info
    assert (watched.changes("refused"), watched.changes("unfinished")) == (0, 1)
    save_small_net(path, seed=1, reached={"step": 5, "steps": 10})
    watched.look_twice()
    assert watched.served == "second"


def test_removing_or_touching_goes_back_to_the_former_weights(watched: Watched):
    second = watched.add("second", seed=1)
    watched.look_twice()
    watched.newest(watched.folder / "first.safetensors")
    watched.look_twice()
    assert watched.served == "first"
    watched.newest(second)
    watched.look_twice()
    assert watched.served == "second"
    second.unlink()
    watched.look_twice()
    assert watched.served == "first"
    assert watched.service.refused == ()


def test_if_no_file_is_left_the_net_stays_and_that_is_reported(watched: Watched, caplog: pytest.LogCaptureFixture):
    (watched.folder / "first.safetensors").unlink()
    for _ in range(4):
        watched.watcher.look()
    assert watched.served == "first"
    reason = "the file is gone, and there is no other weights file"
    assert watched.service.refused == (RefusedFile("first.safetensors", reason),)
    assert len(caplog.records) == 1
    watched.add("second", seed=1)
    watched.look_twice()
    assert watched.served == "second"
    assert watched.service.refused == ()


def test_a_folder_that_was_empty_is_in_order_until_a_file_comes(serve: Callable[..., TestClient], tmp_path: Path):
    client = serve(weights=tmp_path, watch_s=0, tile=512)
    assert isinstance(client.app, FastAPI)
    service: Service = client.app.state.service
    watcher = _watcher(service, tmp_path)
    watched = Watched(client, service, watcher, tmp_path)
    watched.look_twice()
    assert service.refused == ()
    watched.add("own", seed=1)
    watched.look_twice()
    assert watched.served == "own"


def test_the_same_weights_under_another_name_are_not_loaded_again(watched: Watched):
    segmenter = _segmenter_of(watched.service.net)
    shutil.copy(watched.folder / "first.safetensors", watched.folder / "copy.safetensors")
    watched.newest(watched.folder / "copy.safetensors")
    watched.look_twice()
    after = watched.client.get("/model").json()
    assert after["weights"]["file"] == "copy.safetensors"
    assert after["weights"]["former"] is None
    assert _segmenter_of(watched.service.net) is segmenter
    assert watched.changes("served") == 0


def test_a_single_file_that_is_replaced_is_served(serve: Callable[..., TestClient], tmp_path: Path):
    path = save_small_net(tmp_path / "net.safetensors")
    client = serve(weights=path, watch_s=0, tile=512)
    assert isinstance(client.app, FastAPI)
    watched = Watched(client, client.app.state.service, _watcher(client.app.state.service, path), tmp_path)
    watched.look_twice()
    watched.add("unrelated", seed=2)
    watched.look_twice()
    assert watched.served == "net"
    save_small_net(path, seed=1)
    watched.look_twice()
    assert client.get("/model").json()["sha256"] == load_weights(path).sha256


def test_without_looks_the_weights_stay(watched: Watched, png: bytes):
    watched.add("second", seed=1)
    time.sleep(0.1)
    assert watched.client.post("/segment", files={"file": png}).headers["x-model"].startswith("first@")


def test_all_calls_follow_a_net_of_other_classes(
    watched: Watched, png: bytes, make_segmenter: Callable[..., Segmenter]
):
    path = watched.add("classes", seed=1, classes=3)
    refused = watched.client.post("/segment", params={"class": 2}, files={"file": png})
    assert refused.status_code == 422
    watched.look_twice()
    answer = watched.client.post("/segment", params={"output": "probability", "class": 2}, files={"file": png})
    assert answer.status_code == 200
    mask = decode_image(watched.client.post("/segment", files={"file": png}).content)
    assert np.array_equal(mask, make_segmenter(path).mask(decode_image(png)))
    assert watched.client.get("/v2/models/first").status_code == 200
    metadata = watched.client.get("/v2/models/classes").json()
    assert [output["shape"] for output in metadata["outputs"] if output["name"] == "probability"] == [[-1, 3, -1, -1]]
    assert watched.client.get("/model").json()["architecture"]["classes"] == 3


@pytest.mark.parametrize("change", ["other weights", "the same weights"])
def test_an_image_that_is_uploading_keeps_its_net(watched: Watched, png: bytes, change: str):
    freed = weakref.ref(_segmenter_of(watched.service.net))
    before = watched.client.post("/segment", files={"file": png})

    async def halves() -> AsyncIterator[bytes]:
        yield png[:100]
        if change == "other weights":
            watched.add("first", seed=1)
        else:
            os.utime(watched.folder / "first.safetensors")
        await asyncio.to_thread(watched.look_twice)
        yield png[100:]

    async def upload() -> httpx.Response:
        transport = httpx.ASGITransport(app=watched.client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.post("/segment", content=halves(), headers={"Content-Type": "image/png"})

    answer = asyncio.run(upload())
    assert (answer.status_code, answer.content) == (200, before.content)
    assert answer.headers["x-model"] == before.headers["x-model"]
    after = watched.client.post("/segment", files={"file": png})
    assert (after.headers["x-model"] == before.headers["x-model"]) == (change == "the same weights")
    gc.collect()
    assert (freed() is None) == (change == "other weights")
    assert watched.service.metrics.registry.get_sample_value("segment_nets_loaded") == len(watched.service.nets)


def test_a_request_in_progress_keeps_its_net_and_the_net_is_then_freed(
    watched: Watched,
    hold: Callable[[TestClient], Any],
    make_image: MakeImage,
    to_file: Callable[..., bytes],
    make_segmenter: Callable[..., Segmenter],
    wait_until: Callable[[Callable[[], object]], None],
):
    engine, image = hold(watched.client), make_image(200, 150)
    old, file = watched.service.net.label, to_file(image)
    freed = [weakref.ref(watched.service.net), weakref.ref(engine._engine)]
    former = shutil.copy(watched.folder / "first.safetensors", watched.folder / "former")
    path = watched.add("first", seed=1)
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(watched.client.post, "/segment", files={"file": file})
        wait_until(lambda: engine.batches)
        watched.look_twice()
        second = clients.submit(watched.client.post, "/segment", files={"file": file})
        wait_until(lambda: watched.service.metrics.registry.get_sample_value("segment_queue_pixels") or second.done())
        assert not first.done()
        engine.gate.set()
    assert [first.result().headers["x-model"], second.result().headers["x-model"]] == [old, load_weights(path).label]
    masks: list[Any] = [decode_image(answer.result().content) for answer in (first, second)]
    for mask, weights in zip(masks, (former, path), strict=True):
        assert np.array_equal(mask, make_segmenter(weights).mask(image))
    assert not np.array_equal(*masks)
    engine._engine = None
    gc.collect()
    assert [reference() for reference in freed] == [None, None]


def test_an_idle_service_frees_the_net_that_it_served_before(
    watched: Watched, png: bytes, wait_until: Callable[[Callable[[], object]], None]
):
    """Also the threads, which wait for the next tile, and the routes hold nothing of the last request."""
    watched.client.post("/segment", files={"file": png})
    segmenter = _segmenter_of(watched.service.net)
    assert segmenter is not None
    freed: list[Any] = [weakref.ref(each) for each in (watched.service.net, segmenter, segmenter.engine)]
    del segmenter
    watched.add("first", seed=1)
    watched.look_twice()
    wait_until(lambda: [reference() for reference in freed] == [None, None, None])


def test_tiles_of_two_nets_never_share_a_batch(
    watched: Watched,
    hold: Callable[[TestClient], Any],
    make_image: MakeImage,
    to_file: Callable[..., bytes],
    wait_until: Callable[[Callable[[], object]], None],
):
    old, file = hold(watched.client), to_file(make_image(64, 64))
    watched.add("second", seed=1)

    def queued() -> float:
        return watched.service.metrics.registry.get_sample_value("segment_queue_pixels") or 0

    with ThreadPoolExecutor(6) as clients:
        sent = [clients.submit(watched.client.post, "/segment", files={"file": file}) for _ in range(3)]
        wait_until(lambda: queued() == 3 * 64 * 64)
        watched.look_twice()
        new = hold(watched.client)
        sent += [clients.submit(watched.client.post, "/segment", files={"file": file}) for _ in range(3)]
        wait_until(lambda: queued() == 6 * 64 * 64)
        old.gate.set()
        new.gate.set()
    labels = [answer.result().headers["x-model"] for answer in sent]
    assert len(set(labels[:3])) == len(set(labels[3:])) == 1
    assert labels[0] != labels[-1]
    assert sum(count for count, *_ in old.shapes) == sum(count for count, *_ in new.shapes) == 3
    assert len({answer.result().content for answer in sent[:3]}) == 1
    assert len({answer.result().content for answer in sent[3:]}) == 1


def test_the_thread_ends_and_survives_a_folder_that_cannot_be_read(
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wait_until: Callable[[Callable[[], object]], None],
):
    looks: list[int] = []

    def failing(_: Path) -> list[FileState]:
        looks.append(1)
        if len(looks) < 4:
            raise PermissionError("no entry")
        return []

    monkeypatch.setattr("app.weights_watcher.list_states", failing)
    watcher = _watcher(watched.service, watched.folder, 0.001)
    watcher.start()
    wait_until(lambda: len(looks) > 6)
    watcher.close()
    assert [record.message for record in caplog.records if record.exc_info] == ["no new weights could be looked for"]
    count = len(looks)
    watcher.close()
    assert len(looks) == count


def test_a_folder_serves_all_its_nets(watched: Watched, png: bytes, make_segmenter: Callable[..., Segmenter]):
    second = watched.add("second", seed=1)
    watched.look_twice()
    names = ["second", "first", *(path.stem for path in BUNDLED_NETS)]
    assert [model["name"] for model in watched.client.get("/models").json()["models"]] == names
    for path in (watched.folder / "first.safetensors", second):
        answer = watched.client.post("/segment", params={"model": path.stem}, files={"file": png})
        assert answer.headers["x-model"] == load_weights(path).label
        assert np.array_equal(decode_image(answer.content), make_segmenter(path).mask(decode_image(png)))


def test_a_net_whose_file_is_removed_is_no_longer_served(
    watched: Watched, png: bytes, caplog: pytest.LogCaptureFixture
):
    second = watched.add("second", seed=1)
    watched.look_twice()
    caplog.set_level(logging.INFO, "app")
    second.unlink()
    watched.look_twice()
    refused = watched.client.post("/segment", params={"model": "second"}, files={"file": png})
    assert refused.status_code == 422
    assert [record.message for record in caplog.records if "net" in record.message] == ["net removed"]
    assert watched.served == "first"


def test_of_several_files_with_nets_of_one_name_the_newest_is_served(watched: Watched):
    for number in (1, 2):
        path = save_small_net(watched.folder / "new/first.safetensors", seed=number)
        watched.newest(path.rename(watched.folder / f"first-{number}.safetensors"))
        watched.look_twice()
        model = watched.client.get("/model").json()
        assert model["weights"]["file"] == f"first-{number}.safetensors"
        assert len(watched.client.get("/models").json()["models"]) == 1 + len(BUNDLED_NETS)
    (watched.folder / "first-2.safetensors").unlink()
    watched.look_twice()
    assert watched.client.get("/model").json()["weights"]["file"] == "first-1.safetensors"


def test_a_net_named_like_a_bundled_one_replaces_it(watched: Watched):
    path = BUNDLED_NETS[0]
    bundled = watched.service.nets.find(path.stem).weights.sha256
    own = watched.add(path.stem, seed=1)
    watched.look_twice()
    assert watched.service.nets.find(path.stem).weights.sha256 == load_weights(own).sha256
    own.unlink()
    watched.look_twice()
    assert watched.service.nets.find(path.stem).weights.sha256 == bundled


def test_bundled_nets_that_do_not_suit_the_settings_are_left_out(serve: Callable[..., TestClient], tmp_path: Path):
    save_small_net(tmp_path / "first.safetensors")
    client = serve(weights=tmp_path, watch_s=0)  # the tile of these tests is too small for the bundled nets
    assert isinstance(client.app, FastAPI)
    watched = Watched(client, client.app.state.service, _watcher(client.app.state.service, tmp_path), tmp_path)
    watched.add("second", seed=1)
    watched.look_twice()
    assert [model["name"] for model in client.get("/models").json()["models"]] == ["second", "first"]
