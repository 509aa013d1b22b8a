"""A plan for a time budget: how long a step takes on this machine, and how wide a net the time is enough for."""

import statistics
import time
from collections.abc import Callable

from training.data.folder import Sample
from training.loop.batches import SampleStream, make_loader
from training.loop.learner import Learner
from training.loop.machine import Machine
from training.loop.schedule import FEWEST_STEPS
from training.recipe import Recipe

# With fewer steps than these a narrower net, which makes about GAIN times as many steps, gives better weights.
ENOUGH_STEPS, NARROW, GAIN = 1000, 16, 2.5
# Nets that are chosen by their objects need more: small batches of images of many kinds.
ENOUGH_FOR_OBJECTS = 3000
# Share of the budget that the measurement may take.
MEASURING = 0.03
# Steps to measure: the first one is slower and does not count.
WARM_UP, FEWEST, MOST = 1, 1, 60


def fit(recipe: Recipe, machine: Machine, minutes: float, training: list[Sample], *, may_narrow: bool) -> Recipe:
    """Returns the recipe with about as many steps as fit into `minutes`.

    With `may_narrow` the net has the width NARROW if there would be fewer than ENOUGH_STEPS, or ENOUGH_FOR_OBJECTS. The
    number of steps is a plan: the schedule follows the clock.
    """
    seconds = 60 * minutes
    steps = seconds / seconds_per_step(recipe, machine, training, MEASURING * seconds)
    enough = ENOUGH_FOR_OBJECTS if recipe.select == "objects" else ENOUGH_STEPS
    if may_narrow and steps < enough and recipe.net.width > NARROW:
        recipe = recipe.model_copy(update={"net": recipe.net.model_copy(update={"width": NARROW})})
        steps *= GAIN
    planned = max(FEWEST_STEPS, int(float(f"{steps:.1e}")))  # two significant digits
    return recipe.model_copy(update={"steps": planned, "epochs": None, "check_every": None})


def seconds_per_step(
    recipe: Recipe,
    machine: Machine,
    training: list[Sample],
    patience: float,
    now: Callable[[], float] = time.perf_counter,
) -> float:
    """Returns the median duration of real steps on real batches, measured in about `patience` seconds.

    The net is thrown away; the samples keep what was computed of them. All processes must call this together and get
    the main process's result.
    """
    steps = WARM_UP + MOST
    learner, stream = Learner(recipe, steps, machine, seed=0), SampleStream(training, recipe, seed=0)
    share = machine.share(recipe.batch)
    seconds, started = [], now()
    for batch in make_loader(stream, recipe, 0, steps, machine.workers, pin=machine.pins, share=share):
        # reads the loss at its end, so the device has finished its work
        learner.gradients(*batch, batch=recipe.batch)
        learner.update()
        seconds.append(now() - started)
        started = now()
        if len(seconds) >= WARM_UP + FEWEST and machine.processes.from_main(sum(seconds)) > patience:
            break
    return max(1e-6, machine.processes.from_main(statistics.median(seconds[WARM_UP:])))
