"""A short trial of `--init` against training from nothing: both train for a share of the time, the better one stays."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue
from torch import Tensor

from model.unet import UNet
from model.weights_file import Description, Weights
from training.data.folder import Sample
from training.loop.batches import SampleStream, make_loader
from training.loop.init_weights import mean_loss
from training.loop.learner import Learner
from training.loop.machine import Machine
from training.recipe import Recipe

# Each of the two trials takes this share of a training's steps. With fewer steps than this, a trial shows nothing.
SHARE = 0.1
FEWEST_STEPS = 20

# Images that the loss is computed on, spread over all held-out ones.
_SCORED = 8

Record = dict[str, JsonValue]
"""What config.json and the weights keep of `--init`: `label` of the weights, whether they were `kept`, the losses."""


@dataclass(frozen=True)
class Start:
    """One way to train: what is computed, on what, and from which weights (None: from nothing)."""

    recipe: Recipe
    machine: Machine
    init: Weights | None


def trial_steps(recipe: Recipe, images: int) -> int:
    """Steps of a trial; 0 if the training is too short for one."""
    steps = round(SHARE * recipe.total_steps(images))
    return steps if steps >= FEWEST_STEPS else 0


def untried(init: Weights) -> Record:
    """The record of weights that are used without a trial."""
    return {"label": init.label, "kept": True, "loss": None, "loss_from_nothing": None}


def try_both(
    init: Weights, starts: tuple[Start, Start], training: list[Sample], validation: list[Sample], seed: int
) -> Record:
    """Trains from the weights and from nothing (`starts`), each by its recipe with a schedule of a tenth of the length.

    The images are drawn in the same order. The losses are cross-entropies on held-out images, or on training images if
    none are held out. The weights are kept if their loss is not higher.
    """
    losses = [_trial_loss(each, training, validation or training, seed) for each in starts]
    return {
        "label": init.label,
        "kept": losses[0] <= losses[1],
        "loss": round(losses[0], 6) if math.isfinite(losses[0]) else None,
        "loss_from_nothing": round(losses[1], 6) if math.isfinite(losses[1]) else None,
    }


def is_tried(record: Record | None) -> bool:
    """Checks that a trial decided about the weights."""
    return record is not None and any(record[loss] is not None for loss in ("loss", "loss_from_nothing"))


def share_left(record: Record | None) -> float:
    """Share of `--minutes` that is left for the training itself."""
    return 1 - 2 * SHARE if is_tried(record) else 1.0


def shortened(recipe: Recipe, share: float) -> Recipe:
    """The recipe with a share of its steps and, in the same ratio, shorter distances between checks."""
    if recipe.steps is None or share == 1:
        return recipe
    every = recipe.check_every and math.ceil(share * recipe.check_every)
    return recipe.model_copy(update={"steps": max(1, round(share * recipe.steps)), "check_every": every})


def sentence(record: Record) -> str:
    """One line on what `--init` led to."""
    if not is_tried(record):
        return f"--init: the training is too short for a trial, so it starts from {record['label']} without one"
    better = record["label"] if record["kept"] else "nothing"
    losses = ["not finite" if record[key] is None else f"{record[key]:.4f}" for key in ("loss", "loss_from_nothing")]
    trial = f"after a short trial the loss is {losses[0]} from {record['label']}, {losses[1]} from nothing"
    return f"--init: {trial}; the training starts from {better}"


def _trial_loss(start: Start, training: list[Sample], scored: list[Sample], seed: int) -> float:
    """Mean cross-entropy after a trial; infinite if it is not a number. The same in all processes."""
    recipe, machine = start.recipe, start.machine
    steps = trial_steps(recipe, len(training)) or FEWEST_STEPS
    recipe = recipe.model_copy(update={"steps": steps, "epochs": None})
    tensors = _trained(recipe, machine, training, seed, start.init.tensors if start.init else None)
    if tensors is None:
        return math.inf
    chosen = np.linspace(0, len(scored) - 1, min(_SCORED, len(scored))).round().astype(int)
    samples = [scored[index] for index in chosen]
    description = Description(name="trial", architecture=recipe.net, preprocessing=recipe.preprocessing)

    def loss() -> float:
        net = UNet(recipe.net)
        net.load_state_dict(tensors)
        return mean_loss(net.to(machine.device).eval(), description, samples)

    found = machine.processes.on_main(loss)
    return found if math.isfinite(found) else math.inf


def _trained(
    recipe: Recipe, machine: Machine, training: list[Sample], seed: int, init: Mapping[str, Tensor] | None
) -> Mapping[str, Tensor] | None:
    """The averaged weights after all steps of the recipe; None if a loss is not a finite number."""
    steps = recipe.total_steps(len(training))
    learner, stream = Learner(recipe, steps, machine, seed=seed, init=init), SampleStream(training, recipe, seed)
    share = machine.share(recipe.batch)
    for batch in make_loader(stream, recipe, 0, steps, machine.workers, pin=machine.pins, share=share):
        if not math.isfinite(learner.gradients(*batch, batch=recipe.batch)):
            return None
        learner.update()
    return learner.averaged.state_dict()
