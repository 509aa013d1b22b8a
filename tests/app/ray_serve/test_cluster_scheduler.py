"""The front's scheduler with engines that fail in every way; tests/end_to_end/test_ray_serve.py has real ones."""

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, RayError
from ray.serve.exceptions import ReplicaUnavailableError

from app.capacity import QueueCapacity, QueueFull
from app.metrics import Metrics
from app.ray_serve import cluster_scheduler as module
from app.ray_serve.cluster_scheduler import ATTEMPTS, ClusterScheduler, Engines
from app.ray_serve.in_flight import InFlightLimit
from app.ray_serve.messages import Finished, Reference, Running, Served
from app.scheduler import EngineFailed, TileJob
from app.startup import Startup
from model.inputs.preprocessing import Pixels
from model.segmenter import Segmenter, TileInput

MakeImage = Callable[..., Pixels]
Compute = Callable[[TileInput], Awaitable[Finished]]


class Handle:
    """A deployment's handle, whose replica is a function of this process; messages are pickled as Ray would."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self.references: list[Reference] = []
        self.compute = self

    async def remote(self, reference: Reference, tile_input: TileInput) -> Finished:
        assert tile_input.pixels.flags["C_CONTIGUOUS"]
        self.references.append(reference)
        return await self._compute(pickle.loads(pickle.dumps(tile_input)))  # noqa: S301 - its own


@pytest.fixture
def compute(segmenter: Segmenter) -> Compute:
    async def compute(tile_input: TileInput) -> Finished:
        await asyncio.sleep(0)
        [probabilities] = segmenter.engine.run(tile_input.to_input()[None], tile_input.tile.kept)
        return Finished(tile_input.finish(probabilities), "replica")

    return compute


@pytest.fixture
def make(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ClusterScheduler]:
    """`make(compute, limit=10**9, most=10**9)`: pixels on the way, pixels in the queue."""
    monkeypatch.setattr(module, "PAUSE_S", 0.001)
    served = Served(Reference("w", "0" * 64), segmenter.description, Running("torch", "cpu", "fp32"))

    def make(compute: Compute, limit: int = 10**9, most: int = 10**9) -> ClusterScheduler:
        metrics = Metrics()
        capacity = QueueCapacity(most, 60.0, metrics.queue_pixels)
        handle: Any = Handle(compute)
        nets = Engines(handle, [served], InFlightLimit(limit), 128).start(capacity, metrics, Startup())
        scheduler = nets.default.scheduler
        assert isinstance(scheduler, ClusterScheduler)
        return scheduler

    return make


def _count(scheduler: ClusterScheduler, name: str) -> float:
    value = scheduler._metrics.registry.get_sample_value(f"segment_{name}")
    assert value is not None
    return value


def _fail_first(compute: Compute, error: Exception, times: int) -> Compute:
    left = times

    async def failing(tile_input: TileInput) -> Finished:
        nonlocal left
        left -= 1
        if left >= 0:
            raise error
        return await compute(tile_input)

    return failing


@pytest.mark.parametrize("limit", [1, 3 * 128 * 128, 10**9])
def test_images_are_whole_however_many_tiles_are_on_their_way(
    make: Callable[..., ClusterScheduler], compute: Compute, segmenter: Segmenter, make_image: MakeImage, limit: int
):
    scheduler = make(compute, limit)
    images = [make_image(300, 250, seed=1), make_image(40, 30, seed=2), make_image(400, 130, seed=3)]
    tasks = [segmenter.task(image) for image in images]

    async def body() -> tuple[TileJob, TileJob]:
        return await asyncio.gather(scheduler.compute(tasks[0], tasks[1]), scheduler.compute(tasks[2]))

    jobs = asyncio.run(body())
    assert all(job.tiles_done == job.tiles for job in jobs)
    for image, task in zip(images, tasks, strict=True):
        assert np.allclose(task.result, segmenter.probabilities(image), atol=1e-5)
    assert _count(scheduler, "tiles_total") == sum(len(task.tiles) for task in tasks)
    assert _count(scheduler, "queue_pixels") == 0
    assert scheduler._flight.pixels == 0


LOST_WAYS = [ActorDiedError(), ReplicaUnavailableError("x")]


@pytest.mark.parametrize("error", LOST_WAYS, ids=lambda error: type(error).__name__)
def test_a_tile_that_was_lost_is_sent_again(
    make: Callable[..., ClusterScheduler],
    compute: Compute,
    segmenter: Segmenter,
    make_image: MakeImage,
    error: Exception,
):
    scheduler = make(_fail_first(compute, error, ATTEMPTS - 1))
    task = segmenter.task(make_image(50, 60))
    asyncio.run(_run(scheduler, task))
    assert np.allclose(task.result, segmenter.probabilities(make_image(50, 60)), atol=1e-5)
    assert _count(scheduler, "lost_tiles_total") == ATTEMPTS - 1


@pytest.mark.parametrize(
    ("error", "times"),
    [(ActorDiedError(), ATTEMPTS), (EngineFailed("x"), 1), (RayError("x"), 1)],
    ids=["lost again and again", "the engine says so", "anything else of Ray"],
)
def test_a_failed_tile_fails_only_its_own_request(
    make: Callable[..., ClusterScheduler],
    compute: Compute,
    segmenter: Segmenter,
    make_image: MakeImage,
    error: Exception,
    times: int,
):
    async def failing(tile_input: TileInput) -> Finished:
        if tile_input.tile.shape == (52, 60):
            raise error
        return await compute(tile_input)

    scheduler = make(failing)
    good = segmenter.task(make_image(300, 300))

    async def body() -> None:
        other = asyncio.create_task(scheduler.compute(good))
        with pytest.raises(EngineFailed):
            await scheduler.compute(segmenter.task(make_image(50, 60)))
        await other

    asyncio.run(body())
    assert np.allclose(good.result, segmenter.probabilities(make_image(300, 300)), atol=1e-5)
    assert _count(scheduler, "lost_tiles_total") == (times if times > 1 else 0)
    assert _count(scheduler, "queue_pixels") == 0
    assert scheduler._flight.pixels == 0


def test_a_tile_that_fails_takes_along_those_that_have_not_begun(
    make: Callable[..., ClusterScheduler], segmenter: Segmenter, make_image: MakeImage
):
    """One tile lands and lets the next one in, and another fails, in the same turn of the loop."""
    begun: list[TileInput] = []

    async def failing(tile_input: TileInput) -> Finished:
        begun.append(tile_input)
        first = len(begun) == 1
        await asyncio.sleep(0)
        if first:
            return Finished(tile_input.finish(np.zeros((1, *tile_input.tile.shape), np.float32)), "replica")
        raise EngineFailed("x")

    scheduler = make(failing, limit=2 * 128 * 128)
    with pytest.raises(EngineFailed):
        asyncio.run(_run(scheduler, segmenter.task(make_image(400, 400))))
    assert _count(scheduler, "queue_pixels") == 0
    assert scheduler._flight.pixels == 0


async def _run(scheduler: ClusterScheduler, *tasks: Any) -> TileJob:
    return await scheduler.compute(*tasks)


def test_a_request_that_is_given_up_takes_its_tiles_along(
    make: Callable[..., ClusterScheduler], segmenter: Segmenter, make_image: MakeImage
):
    stopped = 0

    async def hanging(_piece: TileInput) -> Finished:
        nonlocal stopped
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped += 1
            raise
        raise AssertionError

    scheduler = make(hanging, limit=3 * 128 * 128)
    task = segmenter.task(make_image(400, 400))

    async def body() -> None:
        running = asyncio.create_task(scheduler.compute(task))
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(body())
    assert stopped == 3
    assert _count(scheduler, "dropped_tiles_total") == len(task.tiles) - 3
    assert _count(scheduler, "queue_pixels") == 0
    assert scheduler._flight.pixels == 0


def test_a_small_image_does_not_wait_for_those_that_fill_the_way(
    make: Callable[..., ClusterScheduler], compute: Compute, segmenter: Segmenter, make_image: MakeImage
):
    gate = asyncio.Event()

    async def holding_large(tile_input: TileInput) -> Finished:
        if tile_input.tile.pixels > 60 * 60:
            await gate.wait()
        return await compute(tile_input)

    scheduler = make(holding_large, limit=2 * 128 * 128)

    async def body() -> None:
        large = asyncio.create_task(scheduler.compute(segmenter.task(make_image(400, 400))))
        await asyncio.sleep(0.01)
        await asyncio.wait_for(scheduler.compute(segmenter.task(make_image(30, 30))), 60)
        assert not large.done()
        gate.set()
        await large

    asyncio.run(body())


def test_more_than_the_queue_takes_is_refused(
    make: Callable[..., ClusterScheduler], compute: Compute, segmenter: Segmenter, make_image: MakeImage
):
    scheduler = make(compute, most=128 * 128)

    async def body() -> None:
        first = asyncio.create_task(scheduler.compute(segmenter.task(make_image(400, 400))))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await scheduler.compute(segmenter.task(make_image(100, 100)))
        await first

    asyncio.run(body())


def test_tiles_name_the_weights_that_their_request_began_with(
    make: Callable[..., ClusterScheduler], compute: Compute, segmenter: Segmenter, make_image: MakeImage, tmp_path: Path
):
    scheduler = make(compute)
    before = scheduler._served
    other = scheduler.serving(Served(Reference(str(tmp_path), "1" * 64), before.description, before.engine))

    async def body() -> None:
        await asyncio.gather(*(each.compute(segmenter.task(make_image(20, 20))) for each in (scheduler, other)))

    asyncio.run(body())
    handle: Any = scheduler._engines.handle
    assert {reference.sha256[0] for reference in handle.references} == {"0", "1"}
