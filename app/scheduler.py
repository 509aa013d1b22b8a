"""A request's tiles on their way, and what a scheduler is: it has them computed, here or elsewhere."""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from app.capacity import QueueCapacity, Reservation
from model.engines.engine import EngineInfo
from model.segmenter import Task


class EngineFailed(Exception):
    """The engine could not compute a tile, or has stopped."""


class TileJob:
    """A request's tiles, page by page. `done` is set when the last is pasted; cancelling it drops those that wait."""

    def __init__(self, tasks: Sequence[Task], capacity: QueueCapacity) -> None:
        """`tasks`: a page each, at least one. Raises Overloaded."""
        self.tasks = tasks
        self.waiting = deque((task, tile) for task in tasks for tile in task.tiles)
        self.reservation: Reservation = capacity.reserve(self.waiting_pixels)
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


class TileScheduler(Protocol):
    """What a service needs of the place where its tiles are computed."""

    capacity: QueueCapacity

    @property
    def engine(self) -> EngineInfo: ...
    @property
    def alive(self) -> bool: ...

    async def run(self, *tasks: Task) -> TileJob:
        """Computes all tiles of a request's tasks; cancelling this drops what is left of them.

        Raises Overloaded, EngineFailed.
        """
        ...

    def close(self) -> None:
        """Finishes what is queued."""
        ...
