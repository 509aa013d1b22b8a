"""How many tiles are on their way to engines."""

import asyncio
from collections import deque


class InFlightLimit:
    """Pixels on their way, up to a limit; those that wait for room get it in turn. Lives on one event loop.

    Few enough that a request which comes now does not have to wait for long, and enough that no engine does.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pixels = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, pixels: int) -> None:
        """Waits for its turn and for room; what is larger than the limit flies alone."""
        if not self._waiting and self._fits(pixels):
            self.pixels += pixels
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(pixels)  # it had just been let in
            raise

    def take_at_once(self, pixels: int) -> None:
        """Past all that wait."""
        self.pixels += pixels

    def release(self, pixels: int) -> None:
        """One has landed."""
        self.pixels -= pixels
        self._admit()

    def set_limit(self, limit: int) -> None:
        """Engines have come or gone."""
        self.limit = limit
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            pixels, turn = self._waiting[0]
            if not turn.cancelled() and not self._fits(pixels):
                return
            self._waiting.popleft()
            if not turn.cancelled():
                self.pixels += pixels
                turn.set_result(None)

    def _fits(self, pixels: int) -> bool:
        return not self.pixels or self.pixels + pixels <= self.limit
