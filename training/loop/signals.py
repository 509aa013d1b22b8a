"""Signals that stop a training: Ctrl-C (SIGINT), or SIGTERM, by which a system ends a job."""

import contextlib
import signal
import time
from collections.abc import Iterator

# Seconds. Ctrl-C reaches a program twice if what started it passes signals on.
SAME_WISH = 1.0


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as SIGINT does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def asked_to_stop(*, patiently: bool = False) -> Iterator[list[float]]:
    """A list that is empty until SIGINT or SIGTERM comes, so that the loop stops between two steps and not within one.

    Asked again later, when that takes too long, KeyboardInterrupt is raised at once, unless it is to wait `patiently`.
    """
    asked: list[float] = []

    def note(_number: int, _frame: object) -> None:
        asked.append(time.monotonic())
        if asked[-1] - asked[0] > SAME_WISH and not patiently:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
