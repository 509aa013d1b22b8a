"""Checks options against the data, and applies them to a named recipe."""

from pydantic import ValidationError

from model.weights_file import Weights
from training.data.fingerprint import Fingerprint, choose_channels
from training.data.folder import Sample
from training.data_error import DataError
from training.loop.losses import OF_SEVERAL_CLASSES
from training.recipe import FINE_TUNING_RATE, RECIPES, Recipe
from training.run.planner import CROPS, Decision, RecipePlan, plan_recipe
from training.run.training_options import TrainingOptions
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


def check_options(options: TrainingOptions, recipe: Recipe, validation: list[Sample]) -> None:
    """Raises DataError for options that would be ignored."""
    if options.scheme.classes > 1 and options.threshold is not None:
        raise DataError("--threshold is for one class: of several the most probable one is taken")
    if options.select and not validation:
        raise DataError("--select chooses weights by held-out images, and none are held out; see --val-fraction")
    if validation and recipe.select != "training_loss" and options.threshold is not None:
        raise DataError("--threshold is for --val-fraction 0: with held-out images the best one is found and stored")
    if not validation and options.patience is not None:
        raise DataError("--patience needs held-out images to tell whether the weights get better; see --val-fraction")


def make_plan(
    options: TrainingOptions,
    samples: list[Sample],
    init: Weights | None,
    fingerprint: Fingerprint,
    objective: Objective,
) -> RecipePlan:
    """Configures the recipe that `--recipe` names, then changes what the command line names.

    `objective` replaces the score that the recipe selects weights by, unless the recipe selects them by the training
    loss and `--select` is not given. Raises DataError.
    """
    plan = RecipePlan(RECIPES[options.recipe])
    if plan.recipe.adapts:
        plan = plan_recipe(fingerprint, plan.recipe, init.description.unet if init else None)
    changed = plan.recipe.model_dump()
    if changed["select"] != "training_loss" or options.select:
        changed["select"] = objective
    if init:
        changed["net"] = init.description.architecture.model_dump()
        changed["preprocessing"] = init.description.preprocessing.model_dump()
        changed["learning_rate"] = min(changed["learning_rate"], FINE_TUNING_RATE)
        changed["threshold"] = init.description.threshold
    else:
        channels = choose_channels(options.channels, samples)
        changed["preprocessing"]["channels"] = channels
        changed["net"]["in_channels"] = 3 if channels == "rgb" else 1
        changed["net"]["classes"] = options.scheme.classes
    if options.scheme.classes > 1:
        changed["loss"] = OF_SEVERAL_CLASSES[changed["loss"]]
    for option, (*above, field) in _PLACES.items():
        value = getattr(options, option.removeprefix("--").replace("-", "_"))
        if value is not None:
            (changed[above[0]] if above else changed)[field] = value
    if options.steps or options.epochs:
        changed |= {"steps": options.steps, "epochs": options.epochs}
    try:
        recipe = Recipe.model_validate(changed)
    except ValidationError as error:
        raise DataError(first_problem(error)) from error
    return RecipePlan(recipe, tuple(decision for decision in plan.decisions if not _is_asked(options, decision)))


def _is_asked(options: TrainingOptions, decision: Decision) -> bool:
    """Returns True if the command line decides the setting itself."""
    return decision.setting == CROPS and bool(options.crop or options.batch)


def first_problem(error: ValidationError) -> str:
    """Describes the first error in a recipe or a description: the option or field, its value, and what is wrong."""
    first = error.errors()[0]
    options = [option for option, place in {**_PLACES, "--name": ("name",)}.items() if place == first["loc"]]
    place = options[0] if options else ".".join(map(str, first["loc"]))
    expected = "letters, digits, '.', '_' and '-', 64 at most, after a letter or a digit, are expected"
    said = expected if first["type"] == "string_pattern_mismatch" else first["msg"]
    return f"{place} {first['input']}: {said}" if place else said
