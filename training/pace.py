"""How many steps fit a time budget on this machine.

The pace is measured once for a machine and a kind of step, and remembered: the same command then plans the same number of
steps, and so gives the same weights, however busy the machine is at the moment.
"""

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

# The rest of the time is for validation, for writing, and for a machine that is busier later than now.
SHARE = 0.8
WARM_UP, TIMED = 3, 7


def planned_steps(recipe: Recipe, minutes: float, height: int, width: int, device: torch.device) -> int:
    """Steps of batches of H x W that fit into `minutes`, in two significant digits, at least 10."""
    steps = SHARE * minutes * 60 / seconds_per_step(recipe, height, width, device)
    return max(10, int(float(f"{steps:.1e}")))


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
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        _file().write_text(json.dumps(memory, indent=1) + "\n")
    except OSError:  # a home that cannot be written to: measured again next time
        pass
