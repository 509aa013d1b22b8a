"""How many steps fit a time budget on this machine.

The pace is measured once for a kind of chip and a kind of step, and remembered: the same command then plans the same
number of steps, and so gives the same weights (on a CPU), however busy the machine is at the moment.
"""

import contextlib
import hashlib
import json
import os
import statistics
import time
from pathlib import Path

import torch

from model.engines.pytorch import chip
from model.whole_file import write_whole
from training.batches import SampleStream, make_loader
from training.data import Sample
from training.learner import Learner
from training.machine import Machine
from training.recipe import Recipe

# The rest of the time is for writing, and for a machine that is busier later than now.
SHARE = 0.7
# Seconds of scoring a held-out pixel at all thresholds, and the time of segmenting it as a share of that of training on
# it, tiles' overlap included. Measured on a CPU; both generous.
SCORING = 4e-6
SEGMENTING = 0.6

# With fewer steps than these a narrower net, which makes more of them, comes out better.
ENOUGH_STEPS, NARROW = 1000, 16

# Steps that are measured: the first few do not count, and of more than the fewest there are as many as take this share
# of the time budget.
WARM_UP, FEWEST, MOST = 3, 7, 60
MEASURING = 0.03
CHECKS = 12


def fit(
    recipe: Recipe,
    machine: Machine,
    minutes: float,
    training: list[Sample],
    validation: list[Sample],
    *,
    may_narrow: bool,
) -> Recipe:
    """The recipe with as many steps as fit into `minutes`; with a net of width NARROW if there would be too few."""
    steps, every = plan(recipe, machine, minutes, training, validation)
    if may_narrow and steps < ENOUGH_STEPS and recipe.net.width > NARROW:
        recipe = recipe.model_copy(update={"net": recipe.net.model_copy(update={"width": NARROW})})
        steps, every = plan(recipe, machine, minutes, training, validation)
    return recipe.model_copy(update={"steps": steps, "epochs": None, "check_every": every})


def plan(
    recipe: Recipe, machine: Machine, minutes: float, training: list[Sample], validation: list[Sample]
) -> tuple[int, int]:
    """(steps, steps between checks) that fit into `minutes`; steps in two significant digits, at least 10.

    Checks take at most a fifth of the time.
    """
    pace, available = seconds_per_step(recipe, machine, training, MEASURING * minutes * 60), SHARE * minutes * 60
    height, width = (recipe.crop,) * 2 if recipe.crop else _largest(training)
    held_out = sum(sample.label.size for sample in validation)
    # by the main process alone: of a step's pixels each has its share only
    check = held_out * (SCORING + SEGMENTING * pace * machine.processes.count / (recipe.batch * height * width))
    checks = min(CHECKS, max(1, int(available / 5 // check))) if check else CHECKS
    steps = max(10, int(float(f"{(available - (checks + 1) * check) / pace:.1e}")))  # the report scores once more
    return steps, -(-steps // checks)


def seconds_per_step(recipe: Recipe, machine: Machine, training: list[Sample], patience: float) -> float:
    """As the main process remembers it, else as measured now, in about `patience` seconds, and then remembered."""
    processes = machine.processes
    # each process has a device of its own, and perhaps another chip, but all have to measure or none
    key, memory = processes.on_main(lambda: (_key(recipe, machine, training), _recall()))
    if key not in memory:
        memory[key] = processes.from_main(_measure(recipe, machine, training, patience))
        processes.on_main(lambda: _remember(memory))
    return memory[key]


def forget(recipe: Recipe, machine: Machine, training: list[Sample]) -> None:
    """For a pace that was wrong: the next training measures anew."""
    memory = _recall()
    if memory.pop(_key(recipe, machine, training), None):
        _remember(memory)


def _measure(recipe: Recipe, machine: Machine, training: list[Sample], patience: float) -> float:
    """The lower quartile of real steps on real batches, by a net that is thrown away.

    Not the median: with a plan that is too long for a busy machine the weights are far better than with one that is too
    short for a machine that was busy for a moment.
    """
    steps = WARM_UP + MOST
    learner, stream = Learner(recipe, steps, machine, seed=0), SampleStream(training, recipe, seed=0)
    share = machine.share(recipe.batch)
    seconds, started = [], time.perf_counter()
    for batch in make_loader(stream, recipe, 0, steps, machine.workers, pin=machine.pins, share=share):
        # ends with reading the loss, so the device has done its work
        learner.gradients(*batch, batch=recipe.batch)
        learner.update()
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        if len(seconds) >= WARM_UP + FEWEST and machine.processes.from_main(sum(seconds)) > patience:
            break
    return statistics.quantiles(seconds[WARM_UP:])[0]


def _key(recipe: Recipe, machine: Machine, training: list[Sample]) -> str:
    """What decides the pace, and nothing else; the name of the machine does not, which is new with every container."""
    what = {
        "machine": [chip(machine.device), torch.get_num_threads(), torch.__version__],
        "how": [str(machine.device), machine.workers, machine.parts, machine.compiled, machine.sync_batch_norm],
        "largest image": _largest(training),
        "recipe": recipe.model_dump(exclude={"steps", "epochs", "check_every"}, mode="json"),
    } | machine.processes.facts
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _largest(training: list[Sample]) -> tuple[int, int]:
    height, width = max((sample.label.shape for sample in training), key=lambda shape: shape[0] * shape[1])
    return height, width


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
    with contextlib.suppress(OSError):  # nowhere to write: measured again next time, and the steps may differ a little
        write_whole(_file(), (json.dumps(memory, indent=1) + "\n").encode())
