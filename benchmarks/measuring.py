"""How the benchmarks time things, and what they ran on."""

import time
from collections.abc import Callable, Mapping


def interleaved(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, after two unmeasured ones.

    They take turns, so that whatever else the machine does hits all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 2):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - started)
    return seconds
