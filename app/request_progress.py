"""The progress of requests, which clients poll by request id while they wait for the answer."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from app.scheduler import TileJob

Stage: TypeAlias = Literal["uploading", "decoding", "loading", "queued", "computing", "encoding"]


class RequestProgress:
    """The stage of one request, and the number of its tiles that are computed."""

    def __init__(self) -> None:
        self._job: TileJob | None = None
        self.begin("uploading")

    def begin(self, stage: Stage) -> None:
        self._stage: Stage = stage
        self._began = time.perf_counter()

    def follow(self, job: TileJob) -> None:
        """Counts the tiles of a job that is queued."""
        self._job = job
        self.begin("queued")

    @property
    def stage(self) -> Stage:
        return self._present[0]

    @property
    def stage_s(self) -> float:
        """Seconds since the stage began."""
        return time.perf_counter() - self._present[1]

    @property
    def tiles(self) -> int:
        """Tiles of all pages; 0 until the image is decoded."""
        return self._job.tiles if self._job else 0

    @property
    def tiles_done(self) -> int:
        return self._job.tiles_done if self._job else 0

    @property
    def _present(self) -> tuple[Stage, float]:
        """The stage, and the time at which it began."""
        if self._stage == "queued" and self._job and self._job.started is not None:
            return "computing", self._job.started
        return self._stage, self._began


class ProgressBoard:
    """The progress of each request that this process is answering. It belongs to one event loop."""

    def __init__(self) -> None:
        self._entries: dict[str, RequestProgress] = {}

    @contextmanager
    def listed(self, request_id: str) -> Iterator[RequestProgress]:
        """Yields the progress of a request, and lists it until the request ends.

        If another request in flight has the same id, the board continues to list the other one.
        """
        progress = RequestProgress()
        owner = self._entries.setdefault(request_id, progress)
        try:
            yield progress
        finally:
            if owner is progress:
                del self._entries[request_id]

    def find(self, request_id: str) -> RequestProgress | None:
        return self._entries.get(request_id)
