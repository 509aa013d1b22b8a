"""The command line's options, checked, and the recipe they make of a named one."""

import argparse

from pydantic import ValidationError

from model.weights_file import Weights
from training.data.fingerprint import Fingerprint, choose_channels
from training.data.folder import Sample
from training.errors import DataError
from training.loop.losses import OF_SEVERAL_CLASSES
from training.recipe import DEFAULT, FINE_TUNING_RATE, RECIPES, Recipe
from training.run.planner import CROPS, Decision, Plan, plan_recipe
from training.scoring.objective import Objective

# Options and where in a recipe their values go.
_PLACES = {
    "--width": ("net", "width"),
    "--batch": ("batch",),
    "--crop": ("crop",),
    "--learning-rate": ("learning_rate",),
    "--threshold": ("threshold",),
    "--val-fraction": ("validation_fraction",),
}


def check_options(arguments: argparse.Namespace, recipe: Recipe, validation: list[Sample]) -> None:
    """Raises DataError for options that would be ignored."""
    if arguments.scheme.classes > 1 and arguments.threshold is not None:
        raise DataError("--threshold is for one class: of several the most probable one is taken")
    if arguments.select and not validation:
        raise DataError("--select chooses weights by held-out images, and none are held out; see --val-fraction")
    if validation and recipe.select != "training_loss" and arguments.threshold is not None:
        raise DataError("--threshold is for --val-fraction 0: with held-out images the best one is found and stored")
    if not validation and arguments.patience is not None:
        raise DataError("--patience needs held-out images to tell whether the weights get better; see --val-fraction")


def make_plan(
    arguments: argparse.Namespace,
    samples: list[Sample],
    init: Weights | None,
    fingerprint: Fingerprint,
    objective: Objective,
) -> Plan:
    """Configures the recipe that `--recipe` names, then changes what the command line names.

    `objective` replaces the score that the recipe selects weights by, unless the recipe selects them by the training
    loss and `--select` is not given. Raises DataError.
    """
    plan = Plan(RECIPES[arguments.recipe])
    if arguments.recipe == DEFAULT.name:
        plan = plan_recipe(fingerprint, plan.recipe, init.description.architecture if init else None)
    changed = plan.recipe.model_dump()
    if changed["select"] != "training_loss" or arguments.select:
        changed["select"] = objective
    if init:
        changed["net"] = init.description.architecture.model_dump()
        changed["preprocessing"] = init.description.preprocessing.model_dump()
        changed["learning_rate"] = min(changed["learning_rate"], FINE_TUNING_RATE)
        changed["threshold"] = init.description.threshold
    else:
        channels = choose_channels(arguments.channels, samples)
        changed["preprocessing"]["channels"] = channels
        changed["net"]["in_channels"] = 3 if channels == "rgb" else 1
        changed["net"]["classes"] = arguments.scheme.classes
    if arguments.scheme.classes > 1:
        changed["loss"] = OF_SEVERAL_CLASSES[changed["loss"]]
    for option, (*above, field) in _PLACES.items():
        value = getattr(arguments, option.removeprefix("--").replace("-", "_"))
        if value is not None:
            (changed[above[0]] if above else changed)[field] = value
    if arguments.steps or arguments.epochs:
        changed |= {"steps": arguments.steps, "epochs": arguments.epochs}
    try:
        recipe = Recipe.model_validate(changed)
    except ValidationError as error:
        raise DataError(first_problem(error)) from error
    return Plan(recipe, tuple(decision for decision in plan.decisions if not _is_asked(arguments, decision)))


def _is_asked(arguments: argparse.Namespace, decision: Decision) -> bool:
    """Returns True if the command line decides the setting itself."""
    return decision.setting == CROPS and bool(arguments.crop or arguments.batch)


def first_problem(error: ValidationError) -> str:
    """Of a recipe or a description: the option, or the place if there is none, its value, and what is wrong with it."""
    first = error.errors()[0]
    options = [option for option, place in {**_PLACES, "--name": ("name",)}.items() if place == first["loc"]]
    place = options[0] if options else ".".join(map(str, first["loc"]))
    expected = "letters, digits, '.', '_' and '-', 64 at most, after a letter or a digit, are expected"
    said = expected if first["type"] == "string_pattern_mismatch" else first["msg"]
    return f"{place} {first['input']}: {said}" if place else said
