"""How long a training has taken, and what for."""

import time


class Clock:
    """Seconds of training, and which share of its steps the net waited for batches."""

    def __init__(self, before: float) -> None:
        """`before`: seconds of the training's earlier parts."""
        self._last = time.monotonic()
        self._started = self._last - before
        self._waited = self._computed = 0.0

    def arrived(self) -> None:
        self._waited += self._lap()

    def stepped(self) -> float:
        """Returns the seconds so far."""
        self._computed += self._lap()
        return self._last - self._started

    def wrote(self) -> None:
        """What came since the step is neither waiting nor computing."""
        self._lap()

    def row(self) -> dict[str, float]:
        """Columns of the history; the share of waiting is since the last call."""
        share = self._waited / max(self._waited + self._computed, 1e-9)
        self._waited = self._computed = 0.0
        return {"seconds": self._last - self._started, "waiting": share}

    def _lap(self) -> float:
        before, self._last = self._last, time.monotonic()
        return self._last - before
