"""Free memory of the machine or the container. Does not import torch."""

import contextlib
from pathlib import Path

import psutil

CGROUP_LIMIT, CGROUP_USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
CGROUP_STAT = Path("/sys/fs/cgroup/memory.stat")


def free_memory() -> int:
    """Returns the bytes that this process may still take."""
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        used = int(CGROUP_USED.read_text()) - _cached_files()
        free = min(free, int(CGROUP_LIMIT.read_text()) - used)
    return max(0, free)


def _cached_files() -> int:
    """Returns the bytes of cached files: they count as the container's, and the kernel reclaims them on demand."""
    rows = dict(line.split() for line in CGROUP_STAT.read_text().splitlines())
    return int(rows.get("inactive_file", 0))
