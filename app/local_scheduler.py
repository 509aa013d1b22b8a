"""The scheduler of a net of this process: its share of the queue of tiles."""

import asyncio
from collections.abc import Callable

from app.capacity import QueueCapacity
from app.metrics import Metrics
from app.scheduler import TileJob, ignore_job
from app.tile_queue import TileQueue
from model.engines.engine import Engine
from model.segmenter import Segmenter, Task


class LocalScheduler:
    """The `TileScheduler` of one process, for one net. Several nets share a queue, see `serving`."""

    def __init__(
        self, segmenter: Segmenter, capacity: QueueCapacity, metrics: Metrics, queue: TileQueue | None = None
    ) -> None:
        """`queue`: the queue of other nets, with this capacity and these metrics; None for a new queue."""
        self.segmenter, self.capacity, self._metrics = segmenter, capacity, metrics
        self._queue = queue or TileQueue(capacity, metrics)
        self._queue.add_threads(segmenter.engine.streams)

    def serving(self, segmenter: Segmenter) -> "LocalScheduler":
        """Returns a scheduler for another net, before which requests wait in the same queue."""
        return LocalScheduler(segmenter, self.capacity, self._metrics, self._queue)

    async def compute(self, *tasks: Task, on_queued: Callable[[TileJob], None] = ignore_job) -> TileJob:
        """Computes all tiles of a request's tasks; cancelling the call drops the remaining tiles.

        `on_queued` gets the job when its tiles are queued. Raises QueueFull, EngineFailed.
        """
        job = self._queue.submit(self.segmenter, tasks)
        on_queued(job)
        await asyncio.wrap_future(job.done)
        return job

    @property
    def engine(self) -> Engine:
        return self.segmenter.engine

    @property
    def alive(self) -> bool:
        return self._queue.alive

    def close(self) -> None:
        """Finishes the queued tiles of all nets, then ends the threads."""
        self._queue.close()
