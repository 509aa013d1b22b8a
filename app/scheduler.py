"""The queue of tiles before an engine. Requests take turns, tile by tile; tiles of one kind share a batch.

So one huge image delays a small one by a batch, not by an image. The engine runs in threads of its own, one for each of
its streams, and starts at once with what waits. A tile that fills the engine by itself never takes more than one of
them, so that small images get past.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from typing import TypeAlias

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
    """A request's tiles, page by page. `done` is set when the last is pasted; cancelling it drops those that wait."""

    def __init__(self, tasks: Sequence[ImageTask]) -> None:
        """`tasks`: a page each, at least one."""
        self.tasks = tasks
        self.waiting = deque((task, tile) for task in tasks for tile in task.tiles)
        self.missing = len(self.waiting)
        self.done: Future[None] = Future()
        self.submitted = time.perf_counter()
        self.started: float | None = None

    @property
    def kind(self) -> tuple[object, object]:
        """Of the next tile: only tiles that are alike in this can be computed at once."""
        _, tile = self.waiting[0]
        return tile.shape, tile.kept

    @property
    def waiting_pixels(self) -> int:
        return sum(tile.pixels for _, tile in self.waiting)


Batch: TypeAlias = list[tuple[Job, ImageTask, Tile]]


class Scheduler:
    """`run` is called on the event loop, the engine runs in its thread; `_changed` guards what they share."""

    def __init__(self, segmenter: Segmenter, max_pixels: int, metrics: Metrics) -> None:
        self._segmenter, self._max_pixels, self._metrics = segmenter, max_pixels, metrics
        self._jobs: deque[Job] = deque()
        self._queued_pixels = 0
        self._pixels_per_s: float | None = None
        self._running = 0  # batches
        self._filled = False  # one of them is a tile that is larger than any batch
        self._closing = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, args=(index,), name=f"engine-{index}", daemon=True)
            for index in range(segmenter.engine.streams)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, *tasks: ImageTask) -> Job:
        """Computes all tiles of a request's tasks; cancelling this drops what is left of them. Raises Overloaded."""
        job = Job(tasks)
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
        return all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Finishes what is queued, then ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _submit(self, job: Job) -> None:
        with self._changed:
            self._take(job.waiting_pixels)
            self._jobs.append(job)
            self._changed.notify_all()

    def _take(self, pixels: int) -> None:
        # an image larger than the whole queue is let in when it would be alone
        full = self._queued_pixels and self._queued_pixels + pixels > self._max_pixels
        if full or self._closing:
            raise Overloaded(self._retry_after_s())
        self._set_queued(self._queued_pixels + pixels)

    def _work(self, index: int) -> None:
        while batch := self._next_batch(index):
            failure: Exception | None = None
            try:
                self._compute(batch)
            except Exception as error:
                log.exception("engine failed")
                failure = error
            finally:
                self._give_back(batch)  # before anybody hears of it, for the next request may come at once
            if failure is None:
                self._finish(batch)
                continue
            for job in {job for job, *_ in batch}:
                self._fail(job, failure)

    def _next_batch(self, index: int) -> Batch:
        """Waits for work; a job's next tile, then others of its kind, one a job in turn. Empty: closing.

        A thread works only while those before it do: one that has just computed has its caches and helpers at hand.
        """
        with self._changed:
            while not (first := self._next_job()) or self._running < index:
                if self._closing and not self._jobs:
                    return []
                self._changed.wait()
            kind, limit = first.kind, self._segmenter.batch_size(first.waiting[0][1])
            batch: Batch = []
            while len(batch) < limit and (job := next((job for job in self._jobs if job.kind == kind), None)):
                self._jobs.remove(job)
                batch.append((job, *job.waiting.popleft()))
                if job.waiting:
                    self._jobs.append(job)
            self._running += 1
            self._filled |= self._fills(batch)
            self._changed.notify_all()
            return batch

    def _next_job(self) -> Job | None:
        """Whose turn it is, passing over tiles that have to wait until another as large is done."""
        self._drop_abandoned()
        return next((job for job in self._jobs if not (self._filled and self._is_large(job.waiting[0][1]))), None)

    def _compute(self, batch: Batch) -> None:
        started = time.perf_counter()
        for job, *_ in batch:
            job.started = job.started or started
        self._segmenter.run([(task, tile) for _, task, tile in batch])
        self._metrics.tiles.inc(len(batch))
        self._metrics.batch_tiles.observe(len(batch))
        rate = self._running * _pixels(batch) / (time.perf_counter() - started)
        self._pixels_per_s = rate if self._pixels_per_s is None else 0.9 * self._pixels_per_s + 0.1 * rate

    def _give_back(self, batch: Batch) -> None:
        """What a batch took, whether it was computed or failed."""
        with self._changed:
            self._running -= 1
            self._filled &= not self._fills(batch)
            self._set_queued(self._queued_pixels - _pixels(batch))
            self._changed.notify_all()

    def _finish(self, batch: Batch) -> None:
        for job, *_ in batch:
            with self._changed:
                job.missing -= 1
                whole = not job.missing
            if whole:
                try:
                    job.done.set_result(None)
                except InvalidStateError:
                    log.debug("finished for a client that has gone")

    def _fail(self, job: Job, error: Exception) -> None:
        with self._changed:
            self._drop(job)
            self._changed.notify_all()
        try:
            job.done.set_exception(error)
        except InvalidStateError:
            log.debug("failed for a client that has gone")

    def _drop_abandoned(self) -> None:
        for job in [job for job in self._jobs if job.done.cancelled()]:
            self._metrics.dropped_tiles.inc(len(job.waiting))
            self._drop(job)

    def _drop(self, job: Job) -> None:
        """Takes what waits of a job out of the queue; tiles that are being computed give back their own."""
        if job in self._jobs:
            self._jobs.remove(job)
        self._set_queued(self._queued_pixels - job.waiting_pixels)
        job.waiting.clear()

    def _is_large(self, tile: Tile) -> bool:
        return tile.pixels > self._segmenter.engine.batch_pixels

    def _fills(self, batch: Batch) -> bool:
        return self._is_large(batch[0][-1])

    def _set_queued(self, pixels: int) -> None:
        self._queued_pixels = pixels
        self._metrics.queue_pixels.set(pixels)

    def _retry_after_s(self) -> int:
        if not self._pixels_per_s:
            return FIRST_GUESS_S
        return min(LONGEST_S, max(1, round(self._queued_pixels / self._pixels_per_s)))


def _pixels(batch: Batch) -> int:
    return sum(tile.pixels for *_, tile in batch)
