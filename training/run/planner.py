"""Configures the default recipe from the fingerprint of a data set, each decision with its reason.

The values were measured on public data sets of several kinds: see "How the recipe configures itself" in README.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.unet import UNetConfig
from training.data.augmentation import Augmentation
from training.data.fingerprint import Fingerprint
from training.recipe import DEFAULT, Recipe

# Regions wider than these, in pixels, are learned at half or a quarter of the resolution.
WIDE, VERY_WIDE = 48, 128
# A quarter would leave a membrane of 7 pixels less than two.
COARSEST_FOR_MEMBRANES = 2
# Rarer classes, by their share of the pixels, weigh no more than this one.
RAREST = 1e-4
# Below this share of foreground, half of the crops are drawn around a foreground pixel.
RARE = 0.05
# Pixels that the net computes per step, and bounds of the batch.
STEP_PIXELS, FEWEST, MOST = 2 * 256**2, 2, 8

GENTLE = Augmentation(
    scale=1.3, elastic=2.0, blur=1.0, gamma=0.3, noise=0.3, brightness=0.3, contrast=0.25, blotches=0.0
)
# Degrees. A camera that is held upright is never held quite straight.
TILT = 15.0


CROPS = "crops"


@dataclass(frozen=True)
class Decision:
    """One setting of a configured recipe, as text for people: its name, its value and the reason."""

    setting: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.value} ({self.reason})"


@dataclass(frozen=True)
class RecipePlan:
    """A recipe and the decisions that led to it."""

    recipe: Recipe
    decisions: tuple[Decision, ...] = ()


Decider = Callable[[Fingerprint, Recipe], tuple[dict[str, Any], Decision]]
"""Decides one setting: returns the changes of the recipe, and the decision."""


def plan_recipe(fingerprint: Fingerprint, base: Recipe = DEFAULT, net: UNetConfig | None = None) -> RecipePlan:
    """Configures a recipe for a data set.

    For membranes in electron micrographs only the resolution is decided, because the recipe was tuned for them.

    Args:
        fingerprint: Facts about the data set.
        base: The recipe to configure.
        net: The architecture of weights that the training starts from; None to decide it.
    """
    recipe = base.model_copy(update={"net": net}) if net else base
    decisions = []
    deciders: tuple[Decider, ...] = () if net else (_decide_scale,)
    if fingerprint.membranes:
        decisions.append(Decision("recipe", "for membranes", "the background is a thin net between objects"))
    else:
        deciders += _DECIDERS
    for decide in deciders:
        changes, decision = decide(fingerprint, recipe)
        recipe = recipe.model_copy(update=changes)
        decisions.append(decision)
    return RecipePlan(recipe, tuple(decisions))


def _decide_scale(fingerprint: Fingerprint, recipe: Recipe) -> tuple[dict[str, Any], Decision]:
    width = fingerprint.object_width
    factor = 4 if width > VERY_WIDE else 2 if width > WIDE else 1
    if fingerprint.membranes:
        factor = min(factor, COARSEST_FOR_MEMBRANES)
    reason = "the labels have no regions" if math.isnan(width) else f"typical regions are {width:.0f} pixels wide"
    net = recipe.net.model_copy(update={"downsampling": factor})
    resolution = {1: "full", 2: "half", 4: "a quarter"}[factor]
    return {"net": net}, Decision("resolution", resolution, reason)


def _decide_class_weights(fingerprint: Fingerprint, _recipe: Recipe) -> tuple[dict[str, Any], Decision]:
    """Weighs classes by the inverse square root of their frequencies, with a mean weight of 1 over all pixels."""
    if fingerprint.classes == 1:
        return {}, Decision("weights of the classes", "equal", "there is one class")
    shares = np.array(fingerprint.shares)
    weights = 1 / np.sqrt(np.maximum(shares, RAREST))
    weights /= (weights * shares).sum()
    found = shares[shares > 0]
    reason = f"their shares of the pixels range from {found.min():.2%} to {found.max():.0%}"
    value = f"{weights[shares > 0].min():.2g} to {weights[shares > 0].max():.2g}"
    return {"class_weights": tuple(np.round(weights, 4).tolist())}, Decision("weights of the classes", value, reason)


def _decide_crops(fingerprint: Fingerprint, recipe: Recipe) -> tuple[dict[str, Any], Decision]:
    factor = recipe.net.downsampling
    side = 256 * factor
    height, width = min(side, fingerprint.height), min(side, fingerprint.width)
    batch = min(MOST, max(FEWEST, round(STEP_PIXELS * factor**2 / (height * width))))
    reason = f"images are {fingerprint.width} x {fingerprint.height} pixels, and small batches make many steps"
    return {"crop": side, "batch": batch}, Decision(CROPS, f"{width} x {height} pixels, {batch} per step", reason)


def _decide_sampling(fingerprint: Fingerprint, recipe: Recipe) -> tuple[dict[str, Any], Decision]:
    share = 0.5 if fingerprint.foreground < RARE else recipe.foreground_crops
    value = f"{share:.0%} of the crops around the foreground" if share else "crops from anywhere"
    return {"foreground_crops": share}, Decision("sampling", value, f"foreground is {fingerprint.foreground:.1%}")


def _decide_augmentation(fingerprint: Fingerprint, recipe: Recipe) -> tuple[dict[str, Any], Decision]:
    rotation = TILT if fingerprint.upright else recipe.augmentation.rotation if recipe.augmentation else 180.0
    value = "mirrored left and right, tilted slightly" if fingerprint.upright else "mirrored, turned by any angle"
    reason = f"up and down {'differ' if fingerprint.upright else 'do not differ'} across the images"
    return {"augmentation": GENTLE.model_copy(update={"rotation": rotation})}, Decision("augmentation", value, reason)


def _decide_borders(fingerprint: Fingerprint, recipe: Recipe) -> tuple[dict[str, Any], Decision]:
    weight = recipe.border_weight if fingerprint.instances else 0.0
    value = f"{1 + weight:g} times the weight" if weight else "no extra weight"
    reason = "the labels tell touching objects apart" if weight else "the labels do not tell touching objects apart"
    return {"border_weight": weight}, Decision("narrow gaps between objects", value, reason)


_DECIDERS = _decide_crops, _decide_sampling, _decide_class_weights, _decide_augmentation, _decide_borders
