"""The provenance of weights: entries of the weights file, and of the training's folder."""

import shlex
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue, ValidationError

from model.outputs.objects import ObjectRule
from model.weights_file import Description, Weights
from training.data.image_reader import RECORDED
from training.data.labels.label_scheme import name_classes
from training.data_error import DataError
from training.loop.trainer import Trainer
from training.recipe import Recipe
from training.run.options import first_problem
from training.run.training_options import TrainingOptions


def today() -> str:
    """Returns the date in UTC as weights files store it: 2026-01-31."""
    return datetime.now(UTC).date().isoformat()


def describe(
    options: TrainingOptions,
    recipe: Recipe,
    images: dict[str, int],
    rule: ObjectRule,
    init: Weights | None,
    begun: str,
    notes: Mapping[str, JsonValue],
) -> Description:
    """Describes the weights file. The service publishes the description, so it has no file names and no paths.

    Args:
        options: The command line's options.
        recipe: The recipe of the training.
        images: Number of images to train on ("training") and held out ("validation").
        rule: How masks become objects.
        init: Weights whose label names are kept unless `--labels` names others.
        begun: Day on which the training began, which a resumed training keeps.
        notes: More entries of the provenance.

    Raises:
        DataError: The name, or the names of the labels, are not valid.
    """
    provenance = {
        "trained": begun,
        "commit": _commit(),
        "torch": torch.__version__,
        "images": images,
        "recipe": recipe.model_dump(mode="json"),
        "seed": options.seed,
        "label_format": options.scheme.format,
        **({RECORDED: options.channel} if options.channel else {}),
    }
    known = init.description.labels if init and not options.labels else None
    try:
        return Description(
            name=options.name,
            architecture=recipe.net,
            preprocessing=recipe.preprocessing,
            threshold=recipe.threshold,
            objects=rule.kind,
            seed_depth=rule.seed_depth,
            min_area=rule.min_area,
            labels=known or name_classes(recipe.net.classes, options.labels),
            provenance={**provenance, **notes},
        )
    except ValidationError as error:
        raise DataError(first_problem(error)) from error


def configuration(options: TrainingOptions, trainer: Trainer) -> dict[str, Any]:
    """Returns the configuration that the training's folder keeps."""
    return trainer.description.provenance | {
        "command": shlex.join(["python", "-m", "training.run", *options.command_line]),
        "device": str(trainer.machine.device),
        "label_scheme": options.scheme.to_json(),
        **({"val_label_scheme": options.val_scheme.to_json()} if options.val else {}),
        "parts": trainer.machine.parts,
        **trainer.machine.processes.facts,
        "steps": trainer.steps,
        "data": [str(path) for path in options.data],
        "validation_sha256": trainer.made_of["held-out images"],
        "training_images": [sample.name for sample in trainer.stream.samples],
        "validation_images": [sample.name for sample in trainer.validation],
    }


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
