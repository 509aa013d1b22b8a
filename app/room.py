"""Room in the queue: how many pixels may wait or be computed at once, and how long a request may have to wait.

Requests take turns, so what is before a request is not all that waits: of each other one it waits for as many pixels
as it has itself, at most. A small image beside a huge one waits for a tile or two.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

# Retry-After before anything was measured, and its bounds, seconds.
FIRST_GUESS_S, LONGEST_S = 5, 300

# A request may have to wait so many times as long as it takes by itself, however long that is.
STRETCH = 3

# Of the engine's speed, by how much one batch moves the average.
NEWEST = 0.1


class Overloaded(Exception):
    """No room in the queue. `retry_after_s`: when there should be."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"no room in the queue for {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Share:
    """What one request has taken of the room, and gives back as it is computed."""

    def __init__(self, room: "Room", pixels: int) -> None:
        self._room, self.left = room, pixels

    def give_back(self, pixels: int) -> None:
        self._room.give_back(self, pixels)


class Room:
    """For the event loop and any thread."""

    def __init__(self, max_pixels: int, max_wait_s: float, queue_pixels: Gauge) -> None:
        """`queue_pixels`: shows how many are taken."""
        self._max_pixels, self._max_wait_s, self._gauge = max_pixels, max_wait_s, queue_pixels
        self._shares: set[Share] = set()
        self._pixels = 0
        self._pixels_per_s: float | None = None
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises Overloaded if there is none for any request, whatever its size."""
        with self._lock:
            smallest = min((share.left for share in self._shares), default=0)
            self._check_pixels(1)
            self._check_wait(smallest)

    def take(self, pixels: int) -> Share:
        """Raises Overloaded if there is none for so many."""
        with self._lock:
            return self._take(pixels)

    @contextmanager
    def decoding(self, pixels: int) -> Iterator[None]:
        """Room for an image while it is decoded, before its tiles take it.

        Raises Overloaded, also if it would have to wait for too long.
        """
        with self._lock:
            self._check_wait(pixels)
            share = self._take(pixels)
        try:
            yield
        finally:
            share.give_back(pixels)

    def give_back(self, share: Share, pixels: int) -> None:
        with self._lock:
            share.left -= pixels
            self._set_pixels(self._pixels - pixels)
            if not share.left:
                self._shares.discard(share)

    def measured(self, pixels_per_s: float) -> None:
        """How fast the engine has just been."""
        with self._lock:
            before = self._pixels_per_s or pixels_per_s
            self._pixels_per_s = (1 - NEWEST) * before + NEWEST * pixels_per_s

    def _take(self, pixels: int) -> Share:
        self._check_pixels(pixels)
        self._set_pixels(self._pixels + pixels)
        share = Share(self, pixels)
        self._shares.add(share)
        return share

    def _check_pixels(self, pixels: int) -> None:
        # an image larger than the whole queue is let in when it would be alone
        if self._pixels and self._pixels + pixels > self._max_pixels:
            raise self._overloaded(self._pixels)

    def _check_wait(self, pixels: int) -> None:
        before = sum(min(share.left, pixels) for share in self._shares)
        if self._pixels_per_s and before - STRETCH * pixels > self._max_wait_s * self._pixels_per_s:
            raise self._overloaded(before)

    def _overloaded(self, before: int) -> Overloaded:
        """For a request that has so many pixels before it."""
        seconds = before / self._pixels_per_s if self._pixels_per_s else FIRST_GUESS_S
        return Overloaded(min(LONGEST_S, max(1, round(seconds))))

    def _set_pixels(self, pixels: int) -> None:
        self._pixels = pixels
        self._gauge.set(pixels)
