import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.capacity import FIRST_GUESS_S, QueueCapacity, QueueFull
from app.loaded_nets import LoadedNets
from app.local_scheduler import LocalScheduler
from app.metrics import Metrics
from app.scheduler import EngineFailed, TileJob
from app.tile_queue import TileQueue
from model.inputs.preprocessing import Pixels
from model.segmenter import ImageTask, Segmenter
from tests.app.conftest import GatedEngine, ReadySource

TILE_PIXELS = 128 * 128
PATIENCE_S = 60.0
HUGE = (400, 400)  # 25 tiles of 128 x 128, computed one by one

WaitUntil = Callable[[Callable[[], object]], None]
MakeImage = Callable[..., Pixels]


@dataclass
class Rig:
    """A scheduler over a gated engine, and what can be seen of it."""

    scheduler: LocalScheduler
    segmenter: Segmenter
    engine: Any
    metrics: Metrics
    queue: TileQueue

    def beside(self, segmenter: Segmenter) -> LocalScheduler:
        """Returns a scheduler of another net, with the same queue."""
        nets = LoadedNets(10**12, self.metrics)
        scheduler = LocalScheduler(ReadySource(segmenter), nets, self.queue)
        nets.load(scheduler.source)
        return scheduler

    def submit(self, image: Pixels) -> "asyncio.Task[TileJob]":
        return asyncio.create_task(self.scheduler.compute(self.segmenter.task(image)))

    async def computing(self, batches: int) -> None:
        """Until that many batches have come to the engine."""
        while len(self.engine.batches) < batches:  # noqa: ASYNC110 - they come in another thread
            await asyncio.sleep(0.001)

    def metric(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(f"segment_{name}")
        assert value is not None
        return value


@pytest.fixture
def make_rig(gated: tuple[Segmenter, Any]) -> Iterator[Callable[..., Rig]]:
    segmenter, engine = gated
    rigs: list[Rig] = []

    def make(max_pixels: int = 10**9, *, is_open: bool = False) -> Rig:
        metrics = Metrics()
        if is_open:
            engine.gate.set()
        capacity = QueueCapacity(max_pixels, PATIENCE_S, metrics.queue_pixels)
        nets = LoadedNets(0, metrics)
        queue = TileQueue(capacity, metrics, after_large=nets.shrink)
        scheduler = LocalScheduler(ReadySource(segmenter), nets, queue)
        nets.load(scheduler.source)
        queue.add_threads(engine.streams)
        rigs.append(Rig(scheduler, segmenter, engine, metrics, queue))
        return rigs[-1]

    yield make
    engine.gate.set()
    for rig in rigs:
        rig.scheduler.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()


def _result(job: TileJob) -> Any:
    [task] = job.tasks
    assert isinstance(task, ImageTask)
    return task.result


def _tiles(rig: Rig, *images: Pixels) -> int:
    return sum(len(rig.segmenter.task(image).tiles) for image in images)


def test_tiles_of_many_jobs_are_computed_once_each(make_rig: Callable[..., Rig], make_image: MakeImage):
    rig = make_rig(is_open=True)
    sizes = [(1, 1), (30, 40), (128, 128), (129, 20), (300, 250), (30, 40), (16, 300)]
    images = [make_image(*size, seed=seed) for seed, size in enumerate(sizes)]

    async def body() -> list[TileJob]:
        return await asyncio.gather(*(rig.submit(image) for image in images))

    jobs = asyncio.run(body())
    for job, image in zip(jobs, images, strict=True):
        assert np.allclose(_result(job), rig.segmenter.probabilities(image), atol=1e-5)
    of_service = rig.engine.shapes[: int(rig.metric("batch_tiles_count"))]
    assert sum(count for count, *_ in of_service) == rig.metric("tiles_total") == _tiles(rig, *images)
    assert rig.metric("queue_pixels") == 0


def test_a_batch_holds_tiles_of_one_shape_of_several_jobs(rig: Rig, make_image: MakeImage):
    sizes = [(128, 128), (32, 32), (64, 32), (32, 32), (64, 32), (31, 29)]

    async def body() -> None:
        tasks = [rig.submit(make_image(*sizes[0]))]
        await rig.computing(1)
        tasks += [rig.submit(make_image(*size)) for size in sizes[1:]]
        await asyncio.sleep(0)
        rig.engine.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(body())
    assert rig.engine.shapes == [(1, 128, 128), (3, 32, 32), (2, 64, 32)]


def test_a_batch_is_never_larger_than_max_batch(rig: Rig, make_image: MakeImage):
    async def body() -> None:
        tasks = [rig.submit(make_image(128, 128))]
        await rig.computing(1)
        tasks += [rig.submit(make_image(16, 16)) for _ in range(10)]
        await asyncio.sleep(0)
        rig.engine.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(body())
    assert rig.engine.shapes == [(1, 128, 128), (8, 16, 16), (2, 16, 16)]


def test_a_batch_has_no_more_pixels_than_one_tile(rig: Rig, make_image: MakeImage):
    async def body() -> None:
        tasks = [rig.submit(make_image(128, 128))]
        await rig.computing(1)
        tasks += [rig.submit(make_image(64, 64)) for _ in range(6)]
        await asyncio.sleep(0)
        rig.engine.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(body())
    assert rig.engine.shapes == [(1, 128, 128), (4, 64, 64), (2, 64, 64)]


def test_a_small_image_sent_after_a_huge_one_is_done_before_it(rig: Rig, make_image: MakeImage):
    done: list[str] = []

    async def body() -> None:
        huge = rig.submit(make_image(*HUGE))
        huge.add_done_callback(lambda _: done.append("huge"))
        await rig.computing(1)
        small = rig.submit(make_image(32, 32))
        small.add_done_callback(lambda _: done.append("small"))
        await asyncio.sleep(0)
        rig.engine.gate.set()
        await asyncio.gather(huge, small)

    asyncio.run(body())
    assert done == ["small", "huge"]
    assert rig.engine.shapes.index((1, 32, 32)) == 1  # one tile was being computed
    assert len(rig.engine.shapes) == 26


def test_images_of_one_shape_take_turns(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(QueueCapacity, "measured", lambda *_: None)  # turns follow the measured speed, which varies
    dark, bright = np.zeros(HUGE, np.uint8), np.full(HUGE, 255, np.uint8)

    async def body() -> None:
        first = rig.submit(dark)
        await rig.computing(1)
        second = rig.submit(bright)
        await asyncio.sleep(0)
        rig.engine.gate.set()
        await asyncio.gather(first, second)

    asyncio.run(body())
    bright_turns = [bool(batch.max() > 0.5) for batch in rig.engine.batches]
    assert bright_turns == [False, *[False, True] * 24, True]


def test_a_job_says_when_its_first_tile_was_begun(rig: Rig, make_image: MakeImage):
    async def body() -> tuple[TileJob, TileJob]:
        first = rig.submit(make_image(*HUGE))
        await rig.computing(1)
        second = rig.submit(make_image(8, 8))
        await asyncio.sleep(0)
        rig.engine.gate.set()
        return await first, await second

    first, second = asyncio.run(body())
    assert first.started is not None
    assert second.started is not None
    assert first.submitted <= first.started <= second.submitted <= second.started


def test_the_tiles_of_a_cancelled_job_are_dropped_and_counted(rig: Rig, make_image: MakeImage):
    async def body() -> None:
        given_up = rig.submit(make_image(*HUGE))
        await rig.computing(1)
        given_up.cancel()
        await asyncio.wait([given_up])
        kept = rig.submit(make_image(16, 16))
        await asyncio.sleep(0)
        rig.engine.gate.set()
        await kept
        assert given_up.cancelled()

    asyncio.run(body())
    assert rig.engine.shapes == [(1, 128, 128), (1, 16, 16)]
    assert rig.metric("dropped_tiles_total") == 24
    assert rig.metric("queue_pixels") == 0


def test_a_job_cancelled_during_its_last_tile_harms_nobody(rig: Rig, make_image: MakeImage):
    async def body() -> None:
        given_up = rig.submit(make_image(16, 16))
        await rig.computing(1)
        given_up.cancel()
        await asyncio.wait([given_up])
        rig.engine.gate.set()
        await rig.submit(make_image(16, 16))

    asyncio.run(body())
    assert rig.metric("tiles_total") == 2
    assert rig.metric("dropped_tiles_total") == 0
    assert rig.metric("queue_pixels") == 0


def test_an_engine_error_fails_the_jobs_of_its_batch_and_no_others(rig: Rig, make_image: MakeImage):
    async def body() -> list[TileJob]:
        failing = rig.submit(make_image(*HUGE))
        await rig.computing(1)
        others = [rig.submit(make_image(*size)) for size in ((16, 16), HUGE)]
        await asyncio.sleep(0)
        rig.engine.failures.append(RuntimeError("boom"))
        rig.engine.gate.set()
        with pytest.raises(EngineFailed):
            await failing
        return await asyncio.gather(*others)

    assert [job.missing for job in asyncio.run(body())] == [0, 0]
    assert rig.metric("tiles_total") == 26
    assert rig.metric("queue_pixels") == 0


def test_a_batch_that_fails_is_computed_again_tile_by_tile(rig: Rig, make_image: MakeImage):
    async def body() -> list[TileJob | BaseException]:
        tasks = [rig.submit(make_image(128, 128))]
        await rig.computing(1)
        tasks += [rig.submit(make_image(16, 16, seed=seed)) for seed in range(3)]
        await asyncio.sleep(0)
        rig.engine.failures += [None, RuntimeError("short of memory"), None, RuntimeError("one is bad")]
        rig.engine.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third, fourth = asyncio.run(body())
    assert rig.engine.shapes == [(1, 128, 128), (3, 16, 16), *[(1, 16, 16)] * 3]
    assert isinstance(third, EngineFailed)
    assert str(third.__cause__) == "one is bad"
    assert isinstance(first, TileJob)
    for seed, job in ((0, second), (2, fourth)):
        assert isinstance(job, TileJob)
        assert np.array_equal(_result(job), rig.segmenter.probabilities(make_image(16, 16, seed=seed)))
    assert rig.metric("queue_pixels") == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_a_thread_dies_nobody_is_left_waiting(rig: Rig, make_image: MakeImage):
    async def body() -> list[TileJob | BaseException]:
        tasks = [rig.submit(make_image(128, 128)), rig.submit(make_image(16, 16))]
        await rig.computing(1)
        rig.engine.failures.append(SystemExit())
        rig.engine.gate.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        with pytest.raises(EngineFailed):
            await rig.submit(make_image(16, 16))
        return done

    assert [type(outcome) for outcome in asyncio.run(body())] == [EngineFailed, EngineFailed]
    assert not rig.scheduler.alive
    assert rig.metric("queue_pixels") == 0


def test_after_engine_errors_the_queue_is_empty_and_later_jobs_work(
    make_rig: Callable[..., Rig], make_image: MakeImage
):
    rig = make_rig(max_pixels=TILE_PIXELS, is_open=True)

    async def body() -> TileJob:
        rig.engine.failures += [RuntimeError("boom") for _ in range(3)]
        for _ in range(3):
            with pytest.raises(EngineFailed):
                await rig.submit(make_image(*HUGE))
        rig.scheduler.capacity.check()
        return await rig.submit(make_image(16, 16))

    job = asyncio.run(body())
    assert np.array_equal(_result(job), rig.segmenter.probabilities(make_image(16, 16)))
    assert rig.metric("queue_pixels") == 0
    assert rig.scheduler.alive


def test_a_full_queue_refuses_and_says_when_to_come_back(make_rig: Callable[..., Rig], make_image: MakeImage):
    rig = make_rig(max_pixels=2 * TILE_PIXELS)

    async def body() -> None:
        accepted = [rig.submit(make_image(128, 128)) for _ in range(2)]
        await rig.computing(1)
        with pytest.raises(QueueFull) as caught:
            rig.scheduler.capacity.check()
        assert caught.value.retry_after_s == FIRST_GUESS_S
        with pytest.raises(QueueFull):
            await rig.submit(make_image(1, 1))
        rig.engine.gate.set()
        await asyncio.gather(*accepted)

    asyncio.run(body())
    rig.scheduler.capacity.check()
    assert rig.metric("queue_pixels") == 0
    assert rig.metric("tiles_total") == 2


def test_an_image_larger_than_the_queue_is_accepted_by_an_empty_queue(
    make_rig: Callable[..., Rig], make_image: MakeImage
):
    rig = make_rig(max_pixels=TILE_PIXELS, is_open=True)

    async def body() -> TileJob:
        return await rig.submit(make_image(*HUGE))

    assert asyncio.run(body()).missing == 0


@pytest.fixture
def two_streams(gated: tuple[Segmenter, Any], make_rig: Callable[..., Rig]) -> Rig:
    _, engine = gated
    engine.streams = 2
    return make_rig()


def test_each_stream_has_a_batch_of_its_own(two_streams: Rig, make_image: MakeImage):
    rig = two_streams

    async def body() -> None:
        tasks = [rig.submit(make_image(128, 128, seed=seed)) for seed in range(3)]
        await rig.computing(2)
        await asyncio.sleep(0.05)
        assert len(rig.engine.batches) == 2
        rig.engine.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(body())
    assert rig.metric("tiles_total") == 3
    assert rig.metric("queue_pixels") == 0


def test_large_tiles_run_singly_and_small_images_overtake(two_streams: Rig, make_image: MakeImage):
    rig = two_streams
    rig.engine.batch_pixels = 32 * 32

    async def body() -> None:
        huge = [rig.submit(make_image(*HUGE)) for _ in range(2)]
        await rig.computing(1)
        await asyncio.sleep(0.05)
        assert rig.engine.shapes == [(1, 128, 128)]
        small = rig.submit(make_image(32, 32))
        await rig.computing(2)
        assert rig.engine.shapes[1:] == [(1, 32, 32)]
        rig.engine.gate.set()
        await asyncio.gather(*huge, small)

    asyncio.run(body())
    assert rig.metric("tiles_total") == 51
    assert rig.metric("queue_pixels") == 0


def test_many_streams_give_every_job_its_own_result(two_streams: Rig, make_image: MakeImage):
    rig = two_streams
    rig.engine.gate.set()
    images = [
        make_image(*size, seed=seed) for seed, size in enumerate([(128, 128), (300, 250), (30, 40), (129, 20)] * 4)
    ]

    async def body() -> list[TileJob]:
        return await asyncio.gather(*(rig.submit(image) for image in images))

    for job, image in zip(asyncio.run(body()), images, strict=True):
        assert np.allclose(_result(job), rig.segmenter.probabilities(image), atol=1e-5)
    assert rig.metric("queue_pixels") == 0


def test_a_failed_or_abandoned_job_releases_its_pixels_once(
    two_streams: Rig, make_image: MakeImage, wait_until: WaitUntil
):
    rig = two_streams

    async def body() -> None:
        failing, given_up = rig.submit(make_image(*HUGE)), rig.submit(make_image(*HUGE))
        await rig.computing(2)
        given_up.cancel()
        await asyncio.wait([given_up])
        rig.engine.failures.append(RuntimeError("boom"))
        rig.engine.gate.set()
        await asyncio.wait([failing])
        await rig.submit(make_image(16, 16))

    asyncio.run(body())
    wait_until(lambda: rig.metric("queue_pixels") == 0)  # the other stream may be at its last tile yet
    assert rig.scheduler.alive


def test_closing_finishes_what_is_queued_then_refuses(rig: Rig, make_image: MakeImage):
    async def body() -> None:
        tasks = [rig.submit(make_image(*size)) for size in (HUGE, (16, 16), HUGE)]
        await rig.computing(1)
        closing = threading.Thread(target=rig.scheduler.close)
        closing.start()
        rig.engine.gate.set()
        jobs = await asyncio.gather(*tasks)
        await asyncio.to_thread(closing.join)
        assert [job.missing for job in jobs] == [0, 0, 0]
        with pytest.raises(QueueFull):
            await rig.submit(make_image(16, 16))

    asyncio.run(body())
    assert not rig.scheduler.alive


def test_an_idle_scheduler_closes_and_may_be_closed_twice(rig: Rig):
    assert rig.scheduler.alive
    rig.scheduler.close()
    rig.scheduler.close()
    assert not rig.scheduler.alive


def test_nets_share_the_time_whatever_they_take(
    make_rig: Callable[..., Rig], make_segmenter: Callable[..., Segmenter], make_image: MakeImage, zscore_path: Path
):
    """Requests of a net that takes four times as long get a quarter of the turns."""
    rig = make_rig()
    slow = make_segmenter(zscore_path)
    slow.engine = GatedEngine(slow.engine)
    slow.engine.gate.set()
    other = rig.beside(slow)
    capacity = rig.scheduler.capacity
    for net, pixels_per_s in ((rig.segmenter, 4e6), (slow, 1e6)):
        capacity.measured(pixels_per_s, net.weights.sha256)
    done: list[str] = []

    def submit(name: str, scheduler: LocalScheduler, segmenter: Segmenter) -> "asyncio.Task[TileJob]":
        task = asyncio.create_task(scheduler.compute(segmenter.task(make_image(128, 128))))
        task.add_done_callback(lambda _: done.append(name))
        return task

    async def body() -> None:
        first = rig.submit(make_image(128, 128))
        await rig.computing(1)
        tasks = [submit("slow", other, slow) for _ in range(4)]
        await asyncio.sleep(0)
        tasks += [submit("fast", rig.scheduler, rig.segmenter) for _ in range(4)]
        await asyncio.sleep(0)
        rig.engine.gate.set()
        await asyncio.gather(first, *tasks)

    asyncio.run(body())
    assert done == ["fast"] * 4 + ["slow"] * 4
