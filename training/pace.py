"""How many steps fit a time budget on this machine.

The pace is measured once for a machine and a kind of step, and remembered: the same command then plans the same number
of steps, and so gives the same weights, however busy the machine is at the moment.
"""

import contextlib
import hashlib
import json
import os
import platform
import statistics
import time
from pathlib import Path

import torch

from training.learner import Learner
from training.recipe import Recipe

# The rest of the time is for writing, and for a machine that is busier later than now.
SHARE = 0.8
# Seconds of scoring a held-out pixel at all thresholds, and the time of segmenting it as a share of that of training on
# it, tiles' overlap included. Measured on a CPU; both generous.
SCORING = 4e-6
SEGMENTING = 0.6
WARM_UP, TIMED = 3, 7
CHECKS = 12


def plan(
    recipe: Recipe, minutes: float, height: int, width: int, held_out: int, device: torch.device
) -> tuple[int, int]:
    """(steps, steps between checks) that fit into `minutes`; steps in two significant digits, at least 10.

    H x W is the size of a training image, `held_out` how many pixels a check segments and scores. Checks take at most a
    fifth of the time.
    """
    step, available = seconds_per_step(recipe, height, width, device), SHARE * minutes * 60
    check = held_out * (SCORING + SEGMENTING * step / (recipe.batch * height * width))
    checks = min(CHECKS, max(1, int(available / 5 // check))) if check else CHECKS
    steps = max(10, int(float(f"{(available - (checks + 1) * check) / step:.1e}")))  # the report scores once more
    return steps, -(-steps // checks)


def seconds_per_step(recipe: Recipe, height: int, width: int, device: torch.device) -> float:
    """As remembered, else as measured now (and then remembered)."""
    memory, key = _recall(), _kind_of_step(recipe, height, width, device)
    if key not in memory:
        memory[key] = _measure(recipe, height, width, device)
        _remember(memory)
    return memory[key]


def forget(recipe: Recipe, height: int, width: int, device: torch.device) -> None:
    """For a pace that was wrong: the next training measures anew."""
    memory = _recall()
    if memory.pop(_kind_of_step(recipe, height, width, device), None):
        _remember(memory)


def _measure(recipe: Recipe, height: int, width: int, device: torch.device) -> float:
    learner = Learner(recipe, WARM_UP + TIMED, device=device, seed=0)
    shape = recipe.batch, 1, height, width
    batch = (
        torch.rand(recipe.batch, recipe.net.in_channels, height, width),
        torch.rand(shape).round(),
        torch.ones(shape),
    )
    seconds = []
    for _ in range(WARM_UP + TIMED):
        started = time.perf_counter()
        learner.gradients(*batch)  # ends with reading the loss, so the device has done its work
        learner.update()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[WARM_UP:])


def _kind_of_step(recipe: Recipe, height: int, width: int, device: torch.device) -> str:
    """What decides the pace, and nothing else."""
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    what = {
        "machine": [platform.node(), chip, torch.get_num_threads(), torch.__version__],
        "device": str(device),
        "batch": [recipe.batch, height, width],
        "recipe": recipe.model_dump(include={"net", "loss", "optimizer", "ema_decay", "name"}),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "unet-segmentation-service" / "pace.json"


def _recall() -> dict[str, float]:
    try:
        found = json.loads(_file().read_text())
        return {str(key): float(value) for key, value in found.items() if float(value) > 0}
    except (OSError, ValueError, AttributeError):
        return {}


def _remember(memory: dict[str, float]) -> None:
    with contextlib.suppress(OSError):  # a home that cannot be written to: measured again next time
        _file().parent.mkdir(parents=True, exist_ok=True)
        _file().write_text(json.dumps(memory, indent=1) + "\n")
