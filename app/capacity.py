"""Queue capacity: how many pixels may be queued or computed at once, and how long a request may expect to wait.

Requests take turns. So a request waits for each earlier request at most as long as it takes itself. A small image
beside a huge one waits for a tile or two.
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


# Sums of seconds are rounded; this much is no wait.
ROUNDING = 1 + 1e-9


class QueueFull(Exception):
    """The queue has no capacity. `retry_after_s`: seconds after which it should have some."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"the queue has no capacity for {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Reservation:
    """The pixels that one request reserves for a net. They are released as its tiles are computed."""

    def __init__(self, capacity: "QueueCapacity", pixels: int, net: str) -> None:
        self._capacity, self.left, self.net = capacity, pixels, net

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
        self._pixels_per_s: dict[str, float] = {}  # by net
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises QueueFull if there is no capacity even for the smallest request."""
        with self._lock:
            smallest = min(map(self._seconds_left, self._reservations), default=0.0)
            self._check_pixels(1)
            self._check_wait(smallest)

    def seconds(self, pixels: int, net: str) -> float:
        """Returns the seconds that a net takes for `pixels`; 0 until the speed of any net is known.

        A net without a measured speed counts as the slowest of the others.
        """
        with self._lock:
            return self._seconds(pixels, net)

    def reserve(self, pixels: int, net: str = "") -> Reservation:
        """Reserves `pixels` for a net. Raises QueueFull if they do not fit into the queue."""
        with self._lock:
            return self._reserve(pixels, net)

    @contextmanager
    def reserved(self, pixels: int, net: str = "") -> Iterator[None]:
        """Reserves `pixels` for an image while it is decoded, before its tiles reserve them.

        Raises QueueFull if they do not fit, or if the request would wait too long.
        """
        with self._lock:
            self._check_wait(self._seconds(pixels, net))
            reservation = self._reserve(pixels, net)
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
        """Records the speed of the newest batch of a net.

        Args:
            pixels_per_s: Pixels per second of the whole engine.
            net: Identity of the net, such as the sha256 of its weights.
        """
        with self._lock:
            before = self._pixels_per_s.get(net, pixels_per_s)
            self._pixels_per_s[net] = (1 - NEWEST) * before + NEWEST * pixels_per_s

    def _seconds(self, pixels: int, net: str) -> float:
        speeds = self._pixels_per_s
        speed = speeds.get(net) or min(speeds.values(), default=0)
        return pixels / speed if speed else 0.0

    def _reserve(self, pixels: int, net: str) -> Reservation:
        self._check_pixels(pixels)
        self._set_pixels(self._pixels + pixels)
        reservation = Reservation(self, pixels, net)
        self._reservations.add(reservation)
        return reservation

    def _check_pixels(self, pixels: int) -> None:
        # an image larger than the whole queue is accepted if the queue is empty
        if self._pixels and self._pixels + pixels > self._max_pixels:
            raise self._overloaded(sum(map(self._seconds_left, self._reservations)))

    def _check_wait(self, seconds: float) -> None:
        """`seconds`: compute time of the request."""
        wait = sum(min(self._seconds_left(reservation), seconds) for reservation in self._reservations)
        if wait - STRETCH * seconds > self._max_wait_s * ROUNDING:
            raise self._overloaded(wait)

    def _seconds_left(self, reservation: Reservation) -> float:
        return self._seconds(reservation.left, reservation.net)

    def _overloaded(self, wait_s: float) -> QueueFull:
        return QueueFull(min(LONGEST_S, max(1, round(wait_s))) if self._pixels_per_s else FIRST_GUESS_S)

    def _set_pixels(self, pixels: int) -> None:
        self._pixels = pixels
        self._gauge.set(pixels)
