"""Queue capacity: how many pixels may be queued or computed at once, and how long a request may expect to wait.

Requests take turns. So a request waits for at most as many pixels of each earlier request as it has itself. A small
image beside a huge one waits for a tile or two.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

# Retry-After in seconds before the speed is known, and its upper bound.
FIRST_GUESS_S, LONGEST_S = 5, 300

# On top of `max_wait_s`, a request may wait this many times its own compute time.
STRETCH = 3

# Weight of the newest batch in the moving average of the engine's speed.
NEWEST = 0.1


class QueueFull(Exception):
    """The queue has no capacity. `retry_after_s`: seconds after which it should have some."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"the queue has no capacity for {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Reservation:
    """The pixels that one request reserves. They are released as its tiles are computed."""

    def __init__(self, capacity: "QueueCapacity", pixels: int) -> None:
        self._capacity, self.left = capacity, pixels

    def release(self, pixels: int) -> None:
        self._capacity.release(self, pixels)


class QueueCapacity:
    """The limits of the queue, and all reservations. Safe to use from the event loop and from any thread."""

    def __init__(self, max_pixels: int, max_wait_s: float, queue_pixels: Gauge) -> None:
        """Starts with an empty queue.

        Args:
            max_pixels: Pixels that may be reserved at once. A single larger request is accepted if the queue is empty.
            max_wait_s: Seconds that a request may wait on top of STRETCH times its own compute time.
            queue_pixels: Gauge for the reserved pixels.
        """
        self._max_pixels, self._max_wait_s, self._gauge = max_pixels, max_wait_s, queue_pixels
        self._reservations: set[Reservation] = set()
        self._pixels = 0
        self._pixels_per_s: float | None = None
        self._measured_net = ""
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises QueueFull if there is no capacity even for the smallest request."""
        with self._lock:
            smallest = min((reservation.left for reservation in self._reservations), default=0)
            self._check_pixels(1)
            self._check_wait(smallest)

    def reserve(self, pixels: int) -> Reservation:
        """Reserves `pixels`. Raises QueueFull if they do not fit into the queue."""
        with self._lock:
            return self._reserve(pixels)

    @contextmanager
    def reserved(self, pixels: int) -> Iterator[None]:
        """Reserves `pixels` for an image while it is decoded, before its tiles reserve them.

        Raises QueueFull if they do not fit, or if the request would wait too long.
        """
        with self._lock:
            self._check_wait(pixels)
            reservation = self._reserve(pixels)
        try:
            yield
        finally:
            reservation.release(pixels)

    def release(self, reservation: Reservation, pixels: int) -> None:
        with self._lock:
            reservation.left -= pixels
            self._set_pixels(self._pixels - pixels)
            if not reservation.left:
                self._reservations.discard(reservation)

    def measured(self, pixels_per_s: float, net: str) -> None:
        """Records the speed of the newest batch. A batch of another net than the last one starts a new average.

        Args:
            pixels_per_s: Pixels per second of the whole engine.
            net: Identity of the net, such as the sha256 of its weights.
        """
        with self._lock:
            known = self._pixels_per_s if net == self._measured_net else None
            before = known or pixels_per_s
            self._pixels_per_s = (1 - NEWEST) * before + NEWEST * pixels_per_s
            self._measured_net = net

    def _reserve(self, pixels: int) -> Reservation:
        self._check_pixels(pixels)
        self._set_pixels(self._pixels + pixels)
        reservation = Reservation(self, pixels)
        self._reservations.add(reservation)
        return reservation

    def _check_pixels(self, pixels: int) -> None:
        # an image larger than the whole queue is accepted if the queue is empty
        if self._pixels and self._pixels + pixels > self._max_pixels:
            raise self._overloaded(self._pixels)

    def _check_wait(self, pixels: int) -> None:
        before = sum(min(reservation.left, pixels) for reservation in self._reservations)
        if self._pixels_per_s and before - STRETCH * pixels > self._max_wait_s * self._pixels_per_s:
            raise self._overloaded(before)

    def _overloaded(self, before: int) -> QueueFull:
        """Returns the error for a request that `before` pixels are queued ahead of."""
        seconds = before / self._pixels_per_s if self._pixels_per_s else FIRST_GUESS_S
        return QueueFull(min(LONGEST_S, max(1, round(seconds))))

    def _set_pixels(self, pixels: int) -> None:
        self._pixels = pixels
        self._gauge.set(pixels)
