"""How the benchmarks time things, and what they ran on."""

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


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


def chip(device: torch.device) -> str:
    """The device's name, with the instructions torch uses on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    return f"{names[0] if names else platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"
