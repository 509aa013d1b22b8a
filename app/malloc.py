"""Freed memory goes back to the system now and then.

Many threads that take and free pieces of all sizes leave glibc's heap with holes that it keeps: over thousands of
requests the process would look as if it leaked. Other C libraries have no such call, and are left alone.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from itertools import count

# Answers between two times; each takes milliseconds.
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
        if self._trim and next(self._answers) % EVERY == 0:
            self._trim(0)
