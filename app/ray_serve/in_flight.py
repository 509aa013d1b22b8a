"""A limit for the tiles in flight between a front and the engines."""

import asyncio
from collections import deque


class InFlightLimit:
    """A fair semaphore that counts pixels. It belongs to one event loop.

    The limit is low enough that a new request does not wait long, and high enough that no engine idles.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pixels = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, pixels: int) -> None:
        """Waits for its turn and for capacity. A tile larger than the limit is sent when no other is in flight."""
        if not self._waiting and self._fits(pixels):
            self.pixels += pixels
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(pixels)  # the turn had just come
            raise

    def take_at_once(self, pixels: int) -> None:
        """Takes pixels without waiting."""
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
