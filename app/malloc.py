"""Returns freed memory to the system from time to time (glibc's malloc_trim).

Many threads that allocate and free blocks of all sizes fragment glibc's heap. Over thousands of requests, the process
would appear to leak memory. Other C libraries have no such call and need none.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from itertools import count

# Responses between two calls; each call takes milliseconds.
EVERY = 100


class Trimmer:
    """Counts answers, of all threads."""

    def __init__(self) -> None:
        self._answers = count(1)
        self._trim: Callable[[int], int] | None = None
        with suppress(AttributeError, OSError, TypeError):  # not glibc
            self._trim = ctypes.CDLL(None).malloc_trim

    def answered(self) -> None:
        """To be called off the event loop, with each answer."""
        if next(self._answers) % EVERY == 0:
            self.trim()

    def trim(self) -> None:
        """Returns freed memory to the system now."""
        if self._trim:
            self._trim(0)
