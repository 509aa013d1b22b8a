"""From the command line's options to a trainer, and from its end to what is said about it."""

import argparse
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from model.engine import choose_device
from model.segmenter import Segmenter
from model.weights_file import BUNDLED, Description, Weights, load_weights
from training import memory, pace
from training.data import DataError, Sample, split_samples
from training.recipe import FINE_TUNING_RATE, RECIPES, Recipe
from training.report import write_report
from training.run_folder import RunFolder
from training.trainer import Limits, Trainer


def prepare(arguments: argparse.Namespace, samples: list[Sample]) -> Trainer:
    """Everything before the first step.

    Raises DataError, EngineError, WeightsError, TooLittleMemory, TrainingError, OSError.
    """
    device = choose_device(arguments.device)
    init = _initial_weights(arguments)
    recipe = _recipe(arguments, samples, init)
    training, validation = split_samples(samples, recipe.validation_fraction)
    height, width = _input_size(recipe, training)
    folder = RunFolder(arguments.out, resume=arguments.resume)
    state = _checkpoint(folder) if arguments.resume else None
    if arguments.minutes and state:
        recipe = Recipe.model_validate_json(state["recipe"])
    elif arguments.minutes:
        held_out = sum(sample.label.size for sample in validation)
        steps, check_every = pace.plan(recipe, arguments.minutes, height, width, held_out, device)
        recipe = recipe.model_copy(update={"steps": steps, "epochs": None, "check_every": check_every})
    parts = memory.choose_parts(recipe, height, width, device)
    description = _description(arguments, recipe, {"training": len(training), "validation": len(validation)}, init)
    trainer = Trainer(
        recipe,
        description,
        training,
        validation,
        folder,
        device=device,
        seed=arguments.seed,
        workers=arguments.workers,
        init=init.tensors if init else None,
        parts=parts,
        compiled=arguments.compile,
        limits=Limits(
            **({"seconds": 60 * arguments.minutes} if arguments.minutes else {}), patience=arguments.patience
        ),
    )
    if state:
        trainer.resume(state)
    else:
        folder.write_config(_config(trainer))
    print(_introduction(trainer, init))
    return trainer


def finish(trainer: Trainer) -> str:
    """What there is to say at the end."""
    best, lines = trainer.best, []
    if trainer.ended != "finished":
        lines.append(f"stopped at step {trainer.step} of {trainer.steps}: {trainer.ended}")
    if trainer.ended == "out of time":
        lines.append("this machine was slower than when its pace was measured; the next --minutes measures it anew")
        pace.forget(trainer.recipe, *_input_size(trainer.recipe, trainer.stream.samples), trainer.device)
    if best.scores:
        reached = f"V_rand {best.score:.4f} on the held-out images"
    elif trainer.recipe.select == "training_loss":
        reached = f"loss {-best.score:.4f}"
    else:
        reached = "no images held out, so nothing is known of how good they are"
    lines.append(f"kept: the weights of step {best.step}, {reached}; threshold {best.threshold:.3g}")
    weights = trainer.folder.weights
    return "\n".join([*lines, f"weights: {weights}", f"serve them: SEGMENT_WEIGHTS={weights} python -m app"])


def report(trainer: Trainer) -> Path:
    """Writes the folder's report on the kept weights; returns its path."""
    segmenter = Segmenter.load(trainer.folder.weights, device=str(trainer.device)) if trainer.validation else None
    return write_report(trainer.folder, trainer.validation, segmenter)


def _initial_weights(arguments: argparse.Namespace) -> Weights | None:
    if not arguments.init:
        return None
    weights = load_weights(BUNDLED if arguments.init == Path("bundled") else arguments.init)
    for option in ("width", "channels"):
        if getattr(arguments, option) is not None:
            raise DataError(f"--{option} does not go with --init: the net is that of the weights, {weights.label}")
    if weights.description.architecture.classes > 1:
        raise DataError(f"{weights.label} has several classes; training is for one")
    return weights


def _recipe(arguments: argparse.Namespace, samples: list[Sample], init: Weights | None) -> Recipe:
    """The named recipe with the command line's changes, checked. Raises DataError."""
    changed = RECIPES[arguments.recipe].model_dump()
    if init:
        changed["net"] = init.description.architecture.model_dump()
        changed["preprocessing"] = init.description.preprocessing.model_dump()
        changed["learning_rate"] = min(changed["learning_rate"], FINE_TUNING_RATE)
    else:
        channels = arguments.channels or ("rgb" if any(_coloured(sample) for sample in samples) else "grey")
        changed["preprocessing"]["channels"] = channels
        changed["net"]["in_channels"] = 3 if channels == "rgb" else 1
    if arguments.width is not None:
        changed["net"]["width"] = arguments.width
    options = {"batch": "batch", "crop": "crop", "learning_rate": "learning_rate", "threshold": "threshold"}
    for option, field in (options | {"val_fraction": "validation_fraction"}).items():
        if getattr(arguments, option) is not None:
            changed[field] = getattr(arguments, option)
    if arguments.steps or arguments.epochs:
        changed |= {"steps": arguments.steps, "epochs": arguments.epochs}
    try:
        return Recipe.model_validate(changed)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}, not {first['input']!r}") from error


def _coloured(sample: Sample) -> bool:
    pixels = sample.pixels
    return pixels.ndim == 3 and bool((pixels[:, :, :1] != pixels[:, :, 1:3]).any())


def _input_size(recipe: Recipe, training: list[Sample]) -> tuple[int, int]:
    """(height, width) of what a step takes. Raises DataError if images of several sizes would make one batch."""
    if recipe.crop:
        return recipe.crop, recipe.crop
    sizes = {sample.label.shape for sample in training}
    if recipe.batch > 1 and len(sizes) > 1:
        raise DataError("the images differ in size, and this recipe takes them whole: --batch must be 1")
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    return height, width


def _checkpoint(folder: RunFolder) -> dict[str, Any]:
    state = folder.load_checkpoint()
    if state is None:
        raise DataError(f"nothing to resume: no checkpoint in {folder.path}")
    return state


def _description(
    arguments: argparse.Namespace, recipe: Recipe, images: dict[str, int], init: Weights | None
) -> Description:
    """The weights travel, and the service publishes what they say: file names and paths stay in the folder."""
    provenance = {
        "trained": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "torch": torch.__version__,
        "images": images,
        "recipe": recipe.model_dump(mode="json"),
        "seed": arguments.seed,
    }
    labels = {0: "background", 255: "foreground"} if not init else init.description.labels
    if arguments.labels:
        labels = {0: arguments.labels[0], 255: arguments.labels[1]}
    return Description(
        name=arguments.name,
        architecture=recipe.net,
        preprocessing=recipe.preprocessing,
        threshold=recipe.threshold,
        labels=labels,
        provenance=provenance | ({"init": init.label} if init else {}),
    )


def _config(trainer: Trainer) -> dict[str, Any]:
    """What the folder keeps of how it was made."""
    return trainer.description.provenance | {
        "command": shlex.join(["python", "-m", "training.run", *sys.argv[1:]]),
        "device": str(trainer.device),
        "steps": trainer.steps,
        "training_images": [sample.name for sample in trainer.stream.samples],
        "validation_images": [sample.name for sample in trainer.validation],
    }


def _introduction(trainer: Trainer, init: Weights | None) -> str:
    recipe, parts = trainer.recipe, trainer.learner.parts
    begin = f", starting from {init.label}" if init else ""
    lines = [
        f"{len(trainer.stream.samples)} images to train on, {len(trainer.validation)} held out; "
        f"{trainer.steps} steps of {recipe.batch} on {trainer.device}; width {recipe.net.width}{begin}; "
        f"into {trainer.folder.path}"
    ]
    if parts > 1:
        lines.append(f"memory is short: each batch of {recipe.batch} is computed in {parts} parts")
    return "\n".join(lines)


def _commit() -> str | None:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
        )
    except OSError:
        return None
    return found.stdout.strip() or None
