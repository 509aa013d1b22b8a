"""The queue of tiles before an engine. Requests take turns, tile by tile; tiles of one kind share a batch.

So one huge image delays a small one by a batch, not by an image. The engine runs in one thread of its own and starts
at once with what waits.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager

from app.metrics import Metrics
from model.segmenter import ImageTask, Segmenter
from model.tiles import Tile

log = logging.getLogger(__name__)

# Retry-After before anything was measured, and its bounds, seconds.
FIRST_GUESS_S, LONGEST_S = 5, 300


class Overloaded(Exception):
    """No room in the queue. `retry_after_s`: when there should be."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"no room in the queue for {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Job:
    """A request's tiles. `done` is set when the last is pasted; cancelling it drops those not computed yet."""

    def __init__(self, task: ImageTask) -> None:
        self.task = task
        self.pixels = sum(tile.pixels for tile in task.tiles)
        """Of the tiles that wait or are being computed: what the job takes of the queue."""
        self.waiting = deque(task.tiles)
        self.missing = len(task.tiles)
        self.done: Future[None] = Future()
        self.submitted = time.perf_counter()
        self.started: float | None = None

    @property
    def kind(self) -> tuple[object, object]:
        """Of the next tile: only tiles that are alike in this can be computed at once."""
        return self.waiting[0].shape, self.waiting[0].kept


class Scheduler:
    """`run` is called on the event loop, the engine runs in its thread; `_changed` guards what they share."""

    def __init__(self, segmenter: Segmenter, max_pixels: int, metrics: Metrics) -> None:
        self._segmenter, self._max_pixels, self._metrics = segmenter, max_pixels, metrics
        self._jobs: deque[Job] = deque()
        self._queued_pixels = 0
        self._pixels_per_s: float | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    async def run(self, task: ImageTask) -> Job:
        """Computes all tiles of a task; cancelling this drops what is left of them. Raises Overloaded."""
        job = Job(task)
        self._submit(job)
        await asyncio.wrap_future(job.done)
        return job

    def check_room(self) -> None:
        """Raises Overloaded if the queue is full, whatever the next image's size."""
        if self._queued_pixels >= self._max_pixels:
            raise Overloaded(self._retry_after_s())

    @contextmanager
    def room(self, pixels: int) -> Iterator[None]:
        """Room in the queue for an image while it is decoded, before its tiles take it. Raises Overloaded."""
        with self._changed:
            self._take(pixels)
        try:
            yield
        finally:
            with self._changed:
                self._set_queued(self._queued_pixels - pixels)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Finishes what is queued, then ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _submit(self, job: Job) -> None:
        with self._changed:
            self._take(job.pixels)
            self._jobs.append(job)
            self._changed.notify()

    def _take(self, pixels: int) -> None:
        # an image larger than the whole queue is let in when it would be alone
        full = self._queued_pixels and self._queued_pixels + pixels > self._max_pixels
        if full or self._closing:
            raise Overloaded(self._retry_after_s())
        self._set_queued(self._queued_pixels + pixels)

    def _work(self) -> None:
        while batch := self._next_batch():
            try:
                self._compute(batch)
            except Exception as error:
                log.exception("engine failed")
                for job in {job for job, _ in batch}:
                    self._fail(job, error)

    def _next_batch(self) -> list[tuple[Job, Tile]]:
        """Waits for work; the first job's next tile, then others of its kind, one a job in turn. Empty: closing."""
        with self._changed:
            self._drop_abandoned()
            while not self._jobs:
                if self._closing:
                    return []
                self._changed.wait()
                self._drop_abandoned()
            kind = self._jobs[0].kind
            limit = self._segmenter.batch_size(self._jobs[0].waiting[0])
            batch: list[tuple[Job, Tile]] = []
            while len(batch) < limit and (job := next((job for job in self._jobs if job.kind == kind), None)):
                self._jobs.remove(job)
                batch.append((job, job.waiting.popleft()))
                if job.waiting:
                    self._jobs.append(job)
            return batch

    def _compute(self, batch: list[tuple[Job, Tile]]) -> None:
        started = time.perf_counter()
        for job, _ in batch:
            job.started = job.started or started
        self._segmenter.run([(job.task, tile) for job, tile in batch])
        self._metrics.tiles.inc(len(batch))
        self._metrics.batch_tiles.observe(len(batch))
        rate = sum(tile.pixels for _, tile in batch) / (time.perf_counter() - started)
        self._pixels_per_s = rate if self._pixels_per_s is None else 0.9 * self._pixels_per_s + 0.1 * rate
        for job, tile in batch:
            self._count(job, tile)

    def _count(self, job: Job, tile: Tile) -> None:
        job.missing -= 1
        with self._changed:
            self._release(job, tile.pixels)
        if not job.missing:
            try:
                job.done.set_result(None)
            except InvalidStateError:
                log.debug("finished for a client that has gone")

    def _fail(self, job: Job, error: Exception) -> None:
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
            self._release(job, job.pixels)
        try:
            job.done.set_exception(error)
        except InvalidStateError:
            log.debug("failed for a client that has gone")

    def _drop_abandoned(self) -> None:
        for job in [job for job in self._jobs if job.done.cancelled()]:
            self._jobs.remove(job)
            self._metrics.dropped_tiles.inc(len(job.waiting))
            self._release(job, job.pixels)

    def _release(self, job: Job, pixels: int) -> None:
        job.pixels -= pixels
        self._set_queued(self._queued_pixels - pixels)

    def _set_queued(self, pixels: int) -> None:
        self._queued_pixels = pixels
        self._metrics.queue_pixels.set(pixels)

    def _retry_after_s(self) -> int:
        if not self._pixels_per_s:
            return FIRST_GUESS_S
        return min(LONGEST_S, max(1, round(self._queued_pixels / self._pixels_per_s)))
