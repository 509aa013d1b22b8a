"""The scheduler of a net of this process: loads the net when a request needs it, and queues its tiles."""

import asyncio
import logging
from collections.abc import Callable

from app.loaded_nets import LoadedNets, NetSource
from app.scheduler import EngineFailed, TileJob, ignore_job
from app.tile_queue import TileQueue
from model.engines.engine import EngineInfo
from model.errors import UserError
from model.segmenter import Segmenter, Task

log = logging.getLogger(__name__)


class LocalScheduler:
    """The `TileScheduler` of one process, for one net. All nets share a queue, and a budget of memory."""

    def __init__(self, source: NetSource, nets: LoadedNets, queue: TileQueue) -> None:
        self.source, self._nets, self._queue = source, nets, queue
        self.capacity = queue.capacity
        self._retired: Segmenter | None = None

    async def compute(self, *tasks: Task, on_queued: Callable[[TileJob], None] = ignore_job) -> TileJob:
        """Computes all tiles of a request's tasks; cancelling the call drops the remaining tiles.

        `on_queued` gets the job when its tiles are queued. Raises QueueFull, EngineFailed.
        """
        segmenter = self._retired or self._nets.use(self.source) or await self._load(tasks)
        job = self._queue.submit(segmenter, tasks)
        on_queued(job)
        await asyncio.wrap_future(job.done)
        return job

    async def _load(self, tasks: tuple[Task, ...]) -> Segmenter:
        """Loads the net; the request keeps its place in the queue meanwhile. Raises QueueFull, EngineFailed."""
        pixels = sum(tile.pixels for task in tasks for tile in task.tiles)
        with self.capacity.reserved(pixels, self.source.weights.sha256):
            try:
                segmenter = await asyncio.to_thread(self._nets.load, self.source)
            except (UserError, RuntimeError) as error:
                log.exception("a net cannot be loaded", extra={"fields": {"model": self.source.weights.label}})
                raise EngineFailed("the net cannot be loaded") from error
        self._queue.add_threads(segmenter.engine.streams)
        return segmenter

    def retire(self) -> None:
        """Drops the net from those of the process; the requests that began with it still use it, and then it is freed.

        Their images may still be uploading when the file has another net already, so they could not load it again.
        """
        self._retired = self._nets.find(self.source)
        self._nets.forget(self.source)

    def follow(self, source: NetSource) -> None:
        """Takes the net from another file with the same weights, also for requests that have begun."""
        self._nets.move(self.source, source)
        self.source = source

    @property
    def segmenter(self) -> Segmenter | None:
        """The net, if it is in memory."""
        return self._retired or self._nets.find(self.source)

    @property
    def engine(self) -> EngineInfo:
        return self.source.engine

    @property
    def loaded(self) -> bool:
        return self.segmenter is not None

    @property
    def alive(self) -> bool:
        return self._queue.alive

    def close(self) -> None:
        """Finishes the queued tiles of all nets, then ends the threads."""
        self._queue.close()
