"""`GET /progress/{request_id}`: stages and tiles of a request, while it is in flight."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import pipeline
from app.net_file import NetFile
from app.request_progress import ProgressBoard, RequestProgress
from model.inputs.preprocessing import Pixels

MakeImage = Callable[..., Pixels]
ToFile = Callable[..., bytes]
Check = Callable[..., dict[str, Any]]
Hold = Callable[[TestClient], Any]
Serve = Callable[..., TestClient]
WaitUntil = Callable[[Callable[[], object]], None]

TILES = 25  # of an image of 400 x 400 pixels


class Turnstile(threading.Semaphore):
    """The gate of a held engine, through which batches pass one by one."""

    def __init__(self) -> None:
        super().__init__(0)

    def wait(self, seconds: float) -> bool:
        return self.acquire(timeout=seconds)

    def set(self) -> None:
        self.release(TILES)


@pytest.fixture
def large(make_image: MakeImage, to_file: ToFile) -> bytes:
    return to_file(make_image(400, 400))


def _ask(client: TestClient, request_id: str = "mine") -> dict[str, Any]:
    progress: dict[str, Any] = client.get(f"/progress/{request_id}").json()
    return {name: value for name, value in progress.items() if name != "stage_s"}


def _has_done(client: TestClient, tiles: int) -> bool:
    return bool(_ask(client)["tiles_done"] == tiles)


def _send(client: TestClient, image: bytes, request_id: str = "mine") -> int:
    return client.post("/segment", files={"file": image}, headers={"X-Request-ID": request_id}).status_code


def test_progress_counts_the_tiles_up_to_their_total(
    serve: Serve, hold: Hold, large: bytes, check_problem: Check, wait_until: WaitUntil
):
    client = serve()
    engine = hold(client)
    engine.gate = Turnstile()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_send, client, large)
        wait_until(lambda: engine.batches)
        assert _ask(client) == {"stage": "computing", "tiles_done": 0, "tiles": TILES}
        for done in range(1, TILES):
            engine.gate.release()
            wait_until(partial(_has_done, client, done))
        engine.gate.release()
        assert answer.result() == 200
    check_problem(client.get("/progress/mine"), 404)


@pytest.mark.parametrize(
    ("owner", "step", "stage"),
    [(pipeline, "decode", "decoding"), (NetFile, "load", "loading"), (pipeline, "to_file", "encoding")],
)
def test_stages_before_and_after_the_tiles_are_reported(
    serve: Serve,
    service_of: Callable[[TestClient], Any],
    monkeypatch: pytest.MonkeyPatch,
    png: bytes,
    wait_until: WaitUntil,
    owner: Any,
    step: str,
    stage: str,
):
    gate, do = threading.Event(), getattr(owner, step)

    def wait_and_do(*arguments: Any) -> Any:
        assert gate.wait(60)
        return do(*arguments)

    client = serve()
    service = service_of(client)
    scheduler = service.net.scheduler
    scheduler._nets.forget(scheduler.source)  # as if evicted, so that it is loaded
    monkeypatch.setattr(owner, step, wait_and_do)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_send, client, png)
        wait_until(lambda: _ask(client).get("stage") == stage)
        gate.set()
        assert answer.result() == 200


def test_a_request_behind_others_is_queued(serve: Serve, hold: Hold, large: bytes, png: bytes, wait_until: WaitUntil):
    client = serve()
    engine = hold(client)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(_send, client, large, "first")
        wait_until(lambda: len(engine.batches) == 2)  # one for each stream
        second = pool.submit(_send, client, png, "second")
        wait_until(lambda: _ask(client, "second").get("tiles") == 1)
        assert _ask(client, "second") == {"stage": "queued", "tiles_done": 0, "tiles": 1}
        assert _ask(client, "first") == {"stage": "computing", "tiles_done": 0, "tiles": TILES}
        engine.gate.set()
        assert [first.result(), second.result()] == [200, 200]


def test_an_unknown_id_is_a_404(client: TestClient, check_problem: Check):
    check_problem(client.get("/progress/unknown"), 404)


@pytest.mark.parametrize("request_id", ["x" * 129, "%00", "a%20b", "a%0a"])
def test_an_id_that_no_request_can_have_is_a_422(client: TestClient, check_problem: Check, request_id: str):
    assert "request_id" in check_problem(client.get(f"/progress/{request_id}"), 422)["detail"]


def test_a_request_with_an_id_that_is_too_long_is_not_listed_under_it(
    serve: Serve, hold: Hold, png: bytes, wait_until: WaitUntil
):
    client = serve()
    engine, long = hold(client), "x" * 129
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_send, client, png, long)
        wait_until(lambda: engine.batches)
        assert client.get(f"/progress/{long}").status_code == 422
        engine.gate.set()
        assert answer.result() == 200


def test_a_refused_request_leaves_no_progress_behind(client: TestClient, check_problem: Check):
    assert _send(client, b"no image") == 400
    check_problem(client.get("/progress/mine"), 404)


def test_seconds_are_those_of_the_stage():
    progress = RequestProgress()
    time.sleep(0.02)
    assert progress.stage_s >= 0.02
    before = progress.stage_s
    progress.begin("decoding")
    assert progress.stage_s < before


def test_a_second_request_with_the_same_id_does_not_hide_the_first():
    board = ProgressBoard()
    with board.listed("same") as first:
        with board.listed("same") as second:
            second.begin("encoding")
            assert board.find("same") is first
        assert board.find("same") is first
    assert board.find("same") is None


def test_an_id_is_free_when_its_first_request_ends():
    board = ProgressBoard()
    with board.listed("same"):
        second = board.listed("same")
        second.__enter__()
    with board.listed("same") as third:
        second.__exit__(None, None, None)
        assert board.find("same") is third


def test_progress_needs_a_key_where_images_do(serve: Serve, check_problem: Check):
    client = serve(api_keys="secret")
    check_problem(client.get("/progress/mine"), 401)
    check_problem(client.get("/progress/mine", headers={"X-API-Key": "secret"}), 404)


def test_polls_are_logged_at_debug_level(client: TestClient, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "app.access")
    client.get("/progress/mine")
    assert not [record for record in caplog.records if record.name == "app.access"]
