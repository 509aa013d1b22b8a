"""The time that a training takes."""

import time
from collections.abc import Callable


class Clock:
    """Seconds since the command started, and the share of the steps' time in which the net waited for batches."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Starts now; `now` returns seconds that only grow."""
        self._now = now
        self._started = self._last = now()
        self._waited = self._computed = 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the start, those of a resumed training's earlier parts included."""
        return self._now() - self._started

    def resume(self, seconds: float) -> None:
        """Adds the seconds of a training's earlier parts."""
        self._started -= seconds

    def arrived(self) -> None:
        """Marks the arrival of a batch."""
        self._waited += self._lap()

    def stepped(self) -> float:
        """Marks the end of a step; returns the seconds since the start."""
        self._computed += self._lap()
        return self._last - self._started

    def wrote(self) -> None:
        """Marks the end of work that is neither waiting nor computing."""
        self._lap()

    def row(self) -> dict[str, float]:
        """Returns columns of the history; `waiting` is the share since the last call."""
        share = self._waited / max(self._waited + self._computed, 1e-9)
        self._waited = self._computed = 0.0
        return {"seconds": self._last - self._started, "waiting": share}

    def _lap(self) -> float:
        before, self._last = self._last, self._now()
        return self._last - before
