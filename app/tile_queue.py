"""The scheduler of one process: a queue of tiles before an engine. Requests take turns, tile by tile.

Tiles of one shape share a batch. So a huge image delays a small one by a batch, not by an image. The engine runs in its
own threads, one for each of its streams, and starts as soon as a tile is queued. Tiles that fill the engine never
occupy more than one thread, so that small images can pass them.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import InvalidStateError
from typing import TypeAlias

from app.capacity import FIRST_GUESS_S, QueueCapacity, QueueFull
from app.metrics import Metrics
from app.scheduler import EngineFailed, TileJob
from model.engines.engine import Engine
from model.segmenter import Segmenter, Task
from model.tiles import Tile

log = logging.getLogger(__name__)


Batch: TypeAlias = list[tuple[TileJob, Task, Tile]]


class LocalScheduler:
    """The `TileScheduler` of one process.

    `run` is called on the event loop, the engine runs in its threads; `_changed` guards the state that they share.
    """

    def __init__(self, segmenter: Segmenter, capacity: QueueCapacity, metrics: Metrics) -> None:
        self.segmenter, self.capacity, self._metrics = segmenter, capacity, metrics
        self._jobs: deque[TileJob] = deque()
        self._running = 0  # batches
        self._filled = False  # one of them is a tile that is larger than any batch
        self._closing = self._dead = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._live, args=(index,), name=f"engine-{index}", daemon=True)
            for index in range(segmenter.engine.streams)
        ]
        for thread in self._threads:
            thread.start()

    async def compute(self, *tasks: Task) -> TileJob:
        """Computes all tiles of a request's tasks; cancelling the call drops the remaining tiles.

        Raises QueueFull, EngineFailed.
        """
        job = self._submit(tasks)
        await asyncio.wrap_future(job.done)
        return job

    @property
    def engine(self) -> Engine:
        return self.segmenter.engine

    @property
    def alive(self) -> bool:
        return not self._dead and all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Finishes what is queued, then ends the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _submit(self, tasks: Sequence[Task]) -> TileJob:
        with self._changed:
            if self._closing:
                raise QueueFull(FIRST_GUESS_S)
            if not self.alive:
                raise EngineFailed("a thread of the engine has died")
            job = TileJob(tasks, self.capacity)
            self._jobs.append(job)
            self._changed.notify_all()
            return job

    def _live(self, index: int) -> None:
        """Runs one thread. If the thread dies, all jobs fail, so that no request waits for its tiles."""
        try:
            self._work(index)
        except BaseException:
            self._fail_all()
            raise

    def _work(self, index: int) -> None:
        while batch := self._next_batch(index):
            failures: dict[TileJob, BaseException] = {}
            try:
                failures = self._attempt(batch)
            except BaseException as error:
                failures = {job: error for job, *_ in batch}
                raise
            finally:
                self._give_back(
                    batch
                )  # before the results are announced, because the next request may follow immediately
                self._finish([entry for entry in batch if entry[0] not in failures])
                for job, cause in failures.items():
                    self._fail(job, cause)

    def _attempt(self, batch: Batch) -> dict[TileJob, BaseException]:
        """Computes a batch. If it fails, computes each tile separately: memory may have been short, or one tile bad.

        Returns the jobs that failed, with the error of each.
        """
        try:
            self._compute(batch)
        except Exception as error:
            log.exception("engine failed")
            if len(batch) == 1:
                return {batch[0][0]: error}
        else:
            return {}
        failures: dict[TileJob, BaseException] = {}
        for entry in batch:
            failures |= self._attempt([entry])
        return failures

    def _next_batch(self, index: int) -> Batch:
        """Waits for tiles; returns the next tile of a job, then tiles of the same shape from other jobs in turn.

        An empty batch means that the scheduler is closing. A thread works only while the threads before it do, because
        a thread that has just computed has warm caches.
        """
        with self._changed:
            while not (first := self._next_job()) or self._running < index:
                if self._closing and not self._jobs:
                    return []
                self._changed.wait()
            kind, limit = first.kind, self.segmenter.batch_size(first.waiting[0][1])
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

    def _next_job(self) -> TileJob | None:
        """Returns the job whose turn it is. Skips tiles that must wait for another tile as large."""
        self._drop_abandoned()
        return next((job for job in self._jobs if not (self._filled and self._is_large(job.waiting[0][1]))), None)

    def _compute(self, batch: Batch) -> None:
        started = time.perf_counter()
        for job, *_ in batch:
            job.started = job.started or started
        self.segmenter.compute_batch([(task, tile) for _, task, tile in batch])
        self._metrics.tiles.inc(len(batch))
        self._metrics.batch_tiles.observe(len(batch))
        self.capacity.measured(self._running * _pixels(batch) / (time.perf_counter() - started))

    def _give_back(self, batch: Batch) -> None:
        """Releases the reservations of a batch, whether it was computed or failed."""
        with self._changed:
            self._running -= 1
            self._filled &= not self._fills(batch)
            for job, _, tile in batch:
                job.reservation.release(tile.pixels)
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

    def _fail(self, job: TileJob, error: BaseException | None) -> None:
        with self._changed:
            self._drop(job)
            self._changed.notify_all()
        failure = EngineFailed("the engine failed")
        failure.__cause__ = error
        try:
            job.done.set_exception(failure)
        except InvalidStateError:
            log.debug("failed for a client that has gone")

    def _fail_all(self) -> None:
        """Fails all jobs, also those with tiles in other threads: those threads may not compute the rest."""
        with self._changed:
            self._dead, jobs = True, list(self._jobs)
        for job in jobs:
            self._fail(job, None)

    def _drop_abandoned(self) -> None:
        for job in [job for job in self._jobs if job.done.cancelled()]:
            self._metrics.dropped_tiles.inc(len(job.waiting))
            self._drop(job)

    def _drop(self, job: TileJob) -> None:
        """Takes what waits of a job out of the queue; tiles that are being computed give back their own."""
        if job in self._jobs:
            self._jobs.remove(job)
        job.reservation.release(job.waiting_pixels)
        job.waiting.clear()

    def _is_large(self, tile: Tile) -> bool:
        return tile.pixels > self.segmenter.engine.batch_pixels

    def _fills(self, batch: Batch) -> bool:
        return self._is_large(batch[0][-1])


def _pixels(batch: Batch) -> int:
    return sum(tile.pixels for *_, tile in batch)
