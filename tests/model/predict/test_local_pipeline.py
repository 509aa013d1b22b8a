import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.engines.engine import Array, Engine
from model.images.decoding import decode_image
from model.images.encoding import encode_png
from model.inputs.preprocessing import Pixels
from model.outputs.output import OutputSpec
from model.predict.jobs import ImageJob, Job, Outcome, Room
from model.predict.local_pipeline import BESIDE_ENGINE, Pipeline
from model.segmenter import Segmenter
from model.tiles import Window

PATIENCE_S = 60


class WatchedEngine:
    """An engine that remembers how many runs went on at once, each held until `gate` is open."""

    def __init__(self, engine: Engine, streams: int | None = None) -> None:
        self._engine = engine
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self.batch_pixels, self.streams = engine.batch_pixels, streams or engine.streams
        self.gate, self.running, self.most = threading.Event(), 0, 0
        self._counting = threading.Lock()

    @property
    def held_bytes(self) -> int:
        return self._engine.held_bytes

    def release_memory(self) -> None:
        self._engine.release_memory()

    def run(self, batch: Array, kept: Window | None = None) -> Array:
        with self._counting:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.gate.wait(PATIENCE_S)
        try:
            return self._engine.run(batch, kept)
        finally:
            with self._counting:
                self.running -= 1


def wait_until(condition: Callable[[], object]) -> None:
    last = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < last, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def segmenter(make_net: Callable[..., Any], make_segmenter: Callable[..., Segmenter]) -> Segmenter:
    """Images of more than 128 pixels a side are several tiles."""
    return make_segmenter(make_net(depth=2), tile=128)


@pytest.fixture
def jobs(make_image: Callable[..., Pixels], tmp_path: Path) -> list[ImageJob]:
    """Twelve images, and where their results go."""
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(encode_png(make_image(150, 60, seed=number)))
    return [ImageJob(path, tmp_path / f"{path.stem}_res") for path in sorted(tmp_path.glob("*.png"))]


def test_a_pipeline_keeps_one_image_per_stream_in_flight(
    segmenter: Segmenter, jobs: list[ImageJob], monkeypatch: pytest.MonkeyPatch
):
    segmenter.engine = engine = WatchedEngine(segmenter.engine)
    opened: list[Path] = []
    read_bytes = Path.read_bytes

    def read(path: Path) -> bytes:
        opened.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    seen: dict[Job, Outcome] = {}
    running = threading.Thread(target=Pipeline(segmenter, OutputSpec()).run, args=(jobs, seen.__setitem__))
    running.start()
    on_their_way = engine.streams + BESIDE_ENGINE
    wait_until(lambda: engine.running == engine.streams and len(opened) == on_their_way)
    time.sleep(0.1)  # for more to be opened, if any were
    assert len(opened) == on_their_way < len(jobs)
    engine.gate.set()
    running.join(PATIENCE_S)
    assert engine.most == engine.streams
    assert seen == dict.fromkeys(jobs, Outcome(()))
    for job in jobs:
        mask = decode_image(read_bytes(job.target.with_suffix(".png")))
        assert np.array_equal(mask, segmenter.mask(decode_image(read_bytes(job.image))))


def test_when_it_is_stopped_images_are_given_up_between_tiles(segmenter: Segmenter, jobs: list[ImageJob]):
    engine = segmenter.engine
    runs, seen, holding, stopped = [], [], threading.Event(), threading.Event()

    class HoldsSecondImage(WatchedEngine):
        def run(self, batch: Array, kept: Window | None = None) -> Array:
            runs.append(batch)
            if len(runs) > 2:  # images have two tiles
                holding.set()
                assert stopped.wait(PATIENCE_S)
            return engine.run(batch, kept)

    def stop(job: Job, outcome: Outcome) -> None:
        assert holding.wait(PATIENCE_S)
        seen.append((job, outcome))
        pipeline.stop()
        stopped.set()

    segmenter.engine = HoldsSecondImage(engine, streams=1)
    pipeline = Pipeline(segmenter, OutputSpec())
    pipeline.run(jobs, stop)
    assert len(runs) == 3
    assert seen == [(job, Outcome(())) for job in jobs if job.target.with_suffix(".png").exists()]


def test_an_engine_failure_fails_only_its_image(segmenter: Segmenter, jobs: list[ImageJob]):
    engine = segmenter.engine
    failures = [RuntimeError("out of memory: tried to allocate 3 GiB\n  at somewhere.cpp"), MemoryError()]

    class FailsTwice(WatchedEngine):
        def run(self, batch: Array, kept: Window | None = None) -> Array:
            if failures:
                raise failures.pop(0)
            return engine.run(batch, kept)

    segmenter.engine = FailsTwice(engine, streams=1)
    seen: dict[Job, Outcome] = {}
    Pipeline(segmenter, OutputSpec()).run(jobs, seen.__setitem__)
    problems = [outcome.problem for outcome in seen.values() if outcome.problem]
    assert sorted(problems) == ["out of memory: tried to allocate 3 GiB", "too large for this machine's memory"]
    assert sum(job.target.with_suffix(".png").exists() for job in jobs) == len(jobs) - 2


def test_large_images_wait_for_capacity_and_oversized_ones_run_singly():
    room, inside = Room(100), []
    leave = {name: threading.Event() for name in ("first", "second", "huge")}

    def take(name: str, pixels: int) -> None:
        with room.taken(pixels):
            inside.append(name)
            assert leave[name].wait(PATIENCE_S)
        inside.remove(name)

    def start(name: str, pixels: int) -> threading.Thread:
        thread = threading.Thread(target=take, args=(name, pixels))
        thread.start()
        return thread

    threads = [start("first", 60), start("second", 40)]
    wait_until(lambda: len(inside) == 2)
    threads.append(start("huge", 1000))
    leave["first"].set()
    threads[0].join(PATIENCE_S)
    assert inside == ["second"]
    leave["second"].set()
    wait_until(lambda: inside == ["huge"])
    leave["huge"].set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert inside == []
