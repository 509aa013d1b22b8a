"""The scheduler protocol, and the job of one request: its tiles, which a scheduler computes here or elsewhere."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from app.capacity import QueueCapacity, Reservation
from model.engines.engine import EngineInfo
from model.segmenter import Task


class EngineFailed(Exception):
    """The engine failed to compute a tile, or has stopped."""


class TileJob:
    """The tiles of one request, page by page.

    `done` is set when the last tile is written; cancelling `done` drops the tiles still queued.
    """

    def __init__(self, tasks: Sequence[Task], capacity: QueueCapacity, net: str) -> None:
        """Reserves the pixels of `tasks`, one per page, at least one. Raises QueueFull.

        Args:
            tasks: The tiles.
            capacity: Where the pixels are reserved.
            net: Identity of the net that computes the tiles: the sha256 of its weights.
        """
        self.tasks = tasks
        self.waiting = deque((task, tile) for task in tasks for tile in task.tiles)
        self.reservation: Reservation = capacity.reserve(self.waiting_pixels, net)
        self.tiles = self.missing = len(self.waiting)
        self.done: Future[None] = Future()
        self.submitted = time.perf_counter()
        self.started: float | None = None

    @property
    def tiles_done(self) -> int:
        return self.tiles - self.missing

    @property
    def waiting_pixels(self) -> int:
        return sum(tile.pixels for _, tile in self.waiting)


def ignore_job(_job: TileJob) -> None:
    """Does nothing: for callers that do not follow a job."""


class TileScheduler(Protocol):
    """The interface through which a service has the tiles of one net computed."""

    capacity: QueueCapacity

    @property
    def engine(self) -> EngineInfo: ...
    @property
    def alive(self) -> bool: ...
    @property
    def loaded(self) -> bool:
        """Returns True if the net is in memory. Otherwise, the next request loads it."""
        ...

    async def compute(self, *tasks: Task, on_queued: Callable[[TileJob], None] = ignore_job) -> TileJob:
        """Computes all tiles of a request's tasks; cancelling the call drops the remaining tiles.

        `on_queued` gets the job when its tiles are queued. Raises QueueFull, EngineFailed.
        """
        ...

    def close(self) -> None:
        """Finishes the queued tiles."""
        ...
