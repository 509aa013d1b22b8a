"""Timing of the stages of the start, in seconds since the start of the process."""

import os
import time
from pathlib import Path


class Startup:
    """A stopwatch: each stage ends where the next begins, the first begins with the process."""

    def __init__(self) -> None:
        self._begun = self._last = time.perf_counter() - process_age_s()
        self.stages: dict[str, int] = {}
        """Milliseconds, as <stage>_ms, in the order of the stages."""

    def done(self, stage: str) -> None:
        """Ends a stage."""
        now = time.perf_counter()
        self.stages[f"{stage}_ms"] = round(1000 * (now - self._last))
        self._last = now

    def summary(self) -> dict[str, int]:
        """The stages, and ready_ms, from the start of the process to the end of the last one."""
        return {**self.stages, "ready_ms": round(1000 * (self._last - self._begun))}


def process_age_s() -> float:
    """Seconds since the process was started; 0 where the system does not tell (other than Linux)."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[19])  # the 22nd field of proc(5), since boot
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, IndexError, ValueError):
        return 0.0
