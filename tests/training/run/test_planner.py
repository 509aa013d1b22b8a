from dataclasses import replace

import numpy as np
import pytest

from model.unet import UNetConfig
from training.data.fingerprint import Fingerprint
from training.recipe import DEFAULT, Recipe
from training.run.planner import GENTLE, TILT, plan_recipe

BLOBS = Fingerprint(
    images=20,
    height=512,
    width=512,
    coloured=False,
    classes=1,
    shares=(0.8, 0.2),
    object_width=20.0,
    membranes=False,
    upright=False,
    instances=False,
)


def planned(**changes: object) -> Recipe:
    return plan_recipe(replace(BLOBS, **changes)).recipe  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "factor"), [(20.0, 1), (60.0, 2), (200.0, 2)])
def test_only_the_resolution_is_decided_for_membranes(width: float, factor: int):
    net = DEFAULT.net.model_copy(update={"downsampling": factor})
    assert planned(membranes=True, object_width=width) == DEFAULT.model_copy(update={"net": net})


def test_weights_to_start_from_decide_the_resolution_for_membranes():
    membranes = replace(BLOBS, membranes=True, object_width=60.0)
    assert plan_recipe(membranes, net=UNetConfig()).recipe.net.downsampling == 1


@pytest.mark.parametrize(("width", "factor"), [(8.0, 1), (48.0, 1), (100.0, 2), (200.0, 4), (float("nan"), 1)])
def test_wider_objects_are_learned_at_a_lower_resolution(width: float, factor: int):
    recipe = planned(object_width=width)
    assert recipe.net.downsampling == factor
    assert recipe.crop == 256 * factor


def test_weights_to_start_from_decide_the_resolution():
    recipe = plan_recipe(replace(BLOBS, object_width=200.0), net=UNetConfig(downsampling=2)).recipe
    assert recipe.net.downsampling == 2
    assert recipe.crop == 512


@pytest.mark.parametrize(("height", "width"), [(64, 64), (288, 384), (360, 480), (3000, 4000)])
@pytest.mark.parametrize("object_width", [8.0, 100.0, 200.0])
def test_a_step_computes_a_similar_number_of_pixels_for_every_size(height: int, width: int, object_width: float):
    recipe = planned(height=height, width=width, object_width=object_width)
    assert 2 <= recipe.batch <= 8
    side, factor = recipe.crop or 0, recipe.net.downsampling
    assert recipe.batch * min(side, height) * min(side, width) / factor**2 <= 1.5 * 2 * 256**2


def test_crops_are_drawn_around_a_rare_foreground():
    assert planned(shares=(0.98, 0.02)).foreground_crops == 0.5
    assert planned(shares=(0.7, 0.3)).foreground_crops == 0


def test_upright_images_are_only_tilted():
    augmentation = planned(upright=True).augmentation
    assert augmentation == GENTLE.model_copy(update={"rotation": TILT})
    assert planned().augmentation == GENTLE


def test_rare_classes_weigh_more_and_the_mean_weight_is_one():
    shares = (0.5, 0.4, 0.09, 0.01, 0.0)
    weights = planned(classes=5, shares=shares).class_weights
    assert weights is not None
    assert list(weights) == sorted(weights)
    assert np.dot(weights, shares) == pytest.approx(1, abs=1e-3)


def test_only_instance_labels_give_gaps_more_weight():
    assert planned(instances=True).border_weight == DEFAULT.border_weight
    assert planned().border_weight == 0


def test_each_decision_names_its_value_and_its_reason():
    lines = [str(decision) for decision in plan_recipe(BLOBS).decisions]
    assert "resolution: full (typical regions are 20 pixels wide)" in lines
    assert all(line.endswith(")") for line in lines)
