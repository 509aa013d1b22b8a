"""The queue of tiles of one process, before the engines of its nets. Requests take turns, tile by tile.

The turns are fair in compute time, whatever the nets and the sizes of the tiles: self-clocked fair queueing (Golestani,
INFOCOM 1994). Tiles of one net and one shape share a batch. So a huge image delays a small one by a batch, not by an
image, and a slow net does not slow down the others beyond their share of the time.

The engines run in the threads of the queue, one for each stream, and start as soon as a tile is queued. Tiles that fill
an engine never occupy more than one thread, so that small images can pass them.

There is one queue for all nets of a process. So limits and memory are the same for several nets as for one.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import InvalidStateError
from typing import TypeAlias

from app.capacity import FIRST_GUESS_S, QueueCapacity, QueueFull
from app.metrics import Metrics
from app.scheduler import EngineFailed, TileJob
from model.segmenter import Segmenter, Task
from model.tiles import Tile

log = logging.getLogger(__name__)

# Seconds per pixel until a speed has been measured; any small number gives the same turns.
FIRST_COST_S = 1e-9


class NetJob(TileJob):
    """A `TileJob` for a net of this process."""

    def __init__(self, segmenter: Segmenter, tasks: Sequence[Task], capacity: QueueCapacity) -> None:
        """Reserves the pixels of `tasks`, see `TileJob`. Raises QueueFull."""
        super().__init__(tasks, capacity, segmenter.weights.sha256)
        self.segmenter = segmenter
        self.turn = 0.0
        """Virtual time at which the next tile would be finished if all jobs shared the engines evenly."""

    @property
    def kind(self) -> tuple[object, ...]:
        """The batch key of the next tile: tiles share a batch only if their keys are equal."""
        _, tile = self.waiting[0]
        return id(self.segmenter), tile.shape, tile.kept

    @property
    def is_large(self) -> bool:
        """Returns True if the next tile fills the engine."""
        return self.waiting[0][1].pixels > self.segmenter.engine.batch_pixels


Batch: TypeAlias = list[tuple[NetJob, Task, Tile]]
"""Tiles of one net and one shape, at least one."""


class TileQueue:
    """Jobs of all nets, and the threads that compute them.

    `submit` is called on the event loop, engines run in the threads; `_changed` guards the state that they share.
    """

    def __init__(self, capacity: QueueCapacity, metrics: Metrics, after_large: Callable[[], None]) -> None:
        """Starts without threads, see `add_threads`. `after_large`: called after a tile larger than any batch."""
        self.capacity, self._metrics, self._after_large = capacity, metrics, after_large
        self._jobs: list[NetJob] = []
        self._clock = 0.0  # virtual time: the turn of the latest batch
        self._running = 0  # batches
        self._filled = False  # one of them is a tile that is larger than any batch
        self._closing = self._dead = False
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []

    def add_threads(self, streams: int) -> None:
        """Starts threads until there are as many as an engine has streams."""
        with self._changed:
            for index in range(len(self._threads), streams):
                thread = threading.Thread(target=self._live, args=(index,), name=f"engine-{index}", daemon=True)
                thread.start()
                self._threads.append(thread)

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

    def submit(self, segmenter: Segmenter, tasks: Sequence[Task]) -> NetJob:
        """Queues the tiles of a request for a net. Cancelling `TileJob.done` drops the remaining tiles.

        Raises QueueFull, EngineFailed.
        """
        with self._changed:
            if self._closing:
                raise QueueFull(FIRST_GUESS_S)
            if not self.alive:
                raise EngineFailed("a thread of the engine has died")
            job = NetJob(segmenter, tasks, self.capacity)
            job.turn = self._clock + self._cost(job)
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
            self._run(batch)
            del batch  # while the thread waits for the next batch, it must not keep the net of the last one

    def _run(self, batch: Batch) -> None:
        failures: dict[NetJob, BaseException] = {}
        try:
            failures = self._attempt(batch)
        except BaseException as error:
            failures = {job: error for job, *_ in batch}
            raise
        finally:
            # before the results are announced, because the next request may follow immediately
            self._give_back(batch)
            self._finish([entry for entry in batch if entry[0] not in failures])
            for job, cause in failures.items():
                self._fail(job, cause)

    def _attempt(self, batch: Batch) -> dict[NetJob, BaseException]:
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
        failures: dict[NetJob, BaseException] = {}
        for entry in batch:
            failures |= self._attempt([entry])
        return failures

    def _next_batch(self, index: int) -> Batch:
        """Waits for tiles; returns the next tile, then tiles of the same net and shape, of other jobs in turn.

        An empty batch means that the scheduler is closing. A thread works only while the threads before it do, because
        a thread that has just computed has warm caches.
        """
        with self._changed:
            while not (first := self._next_job()) or self._running < index:
                if self._closing and not self._jobs:
                    return []
                self._changed.wait()
            kind, limit = first.kind, first.segmenter.batch_size(first.waiting[0][1])
            self._clock = max(self._clock, first.turn)
            batch: Batch = []
            while len(batch) < limit and (job := _earliest(job for job in self._jobs if job.kind == kind)):
                batch.append((job, *self._take(job)))
            self._running += 1
            self._filled |= _fills(batch)
            self._changed.notify_all()
            return batch

    def _next_job(self) -> NetJob | None:
        """Returns the job whose turn it is. Skips tiles that must wait for another tile as large."""
        self._drop_abandoned()
        return _earliest(job for job in self._jobs if not (self._filled and job.is_large))

    def _take(self, job: NetJob) -> tuple[Task, Tile]:
        """Takes the next tile of a job out of the queue."""
        taken = job.waiting.popleft()
        if job.waiting:
            job.turn += self._cost(job)
        else:
            self._jobs.remove(job)
        return taken

    def _cost(self, job: NetJob) -> float:
        """Returns the seconds that the next tile of a job takes; without a measurement, in proportion to its pixels."""
        pixels = job.waiting[0][1].pixels
        return self.capacity.seconds(pixels, job.segmenter.weights.sha256) or pixels * FIRST_COST_S

    def _compute(self, batch: Batch) -> None:
        started = time.perf_counter()
        for job, *_ in batch:
            job.started = job.started or started
        segmenter = batch[0][0].segmenter
        segmenter.compute_batch([(task, tile) for _, task, tile in batch])
        self._metrics.tiles.inc(len(batch))
        self._metrics.batch_tiles.observe(len(batch))
        pixels_per_s = self._running * _pixels(batch) / (time.perf_counter() - started)
        self.capacity.measured(pixels_per_s, segmenter.weights.sha256)
        if _fills(batch):
            self._after_large()

    def _give_back(self, batch: Batch) -> None:
        """Releases the reservations of a batch, whether it was computed or failed."""
        with self._changed:
            self._running -= 1
            self._filled &= not _fills(batch)
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

    def _fail(self, job: NetJob, error: BaseException | None) -> None:
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

    def _drop(self, job: NetJob) -> None:
        """Takes what waits of a job out of the queue; tiles that are being computed give back their own."""
        if job in self._jobs:
            self._jobs.remove(job)
        job.reservation.release(job.waiting_pixels)
        job.waiting.clear()


def _earliest(jobs: Iterable[NetJob]) -> NetJob | None:
    """Returns the job whose turn comes first; if several have the same turn, the earliest job."""
    return min(jobs, key=lambda job: job.turn, default=None)


def _fills(batch: Batch) -> bool:
    """Returns True if a batch is a tile that fills the engine."""
    job, _, tile = batch[0]
    return tile.pixels > job.segmenter.engine.batch_pixels


def _pixels(batch: Batch) -> int:
    return sum(tile.pixels for *_, tile in batch)
