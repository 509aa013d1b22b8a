from dataclasses import replace

import numpy as np
import pytest
import torch

from training.data.folder import IGNORED, Sample, load_samples
from training.loop.batches import SampleStream, make_loader
from training.recipe import DEFAULT, TUTORIAL
from training.run.planner import GENTLE

SMALL = DEFAULT.model_copy(update={"crop": 32, "batch": 2})


def test_a_pass_draws_each_image_once_and_the_next_in_another_order(cells_folder):
    samples = load_samples(cells_folder)
    stream = SampleStream(samples, TUTORIAL, seed=3)
    drawn = [np.sort(stream[position][0].numpy(), axis=None).tobytes() for position in range(12)]
    assert len(set(drawn[:6])) == len(set(drawn[6:])) == 6
    assert drawn[:6] != drawn[6:]


def test_tutorial_inputs_are_grey_values_0_to_255(cells_folder):
    planes, target, weights = SampleStream(load_samples(cells_folder), TUTORIAL, seed=0)[0]
    assert planes.shape == target.shape == (1, 96, 96)
    assert 100 < planes.max() <= 255
    assert (planes == planes.round()).all()
    assert set(target.unique().tolist()) == {0.0, 1.0}
    assert weights.unique().tolist() == [1.0]


def test_border_weights_are_cut_and_turned_with_the_image(cells_folder):
    weighted = SMALL.model_copy(update={"border_weight": 5, "augmentation": SMALL.augmentation})
    stream = SampleStream(load_samples(cells_folder), weighted, seed=0)
    drawn = [stream[position] for position in range(12)]
    assert all(tensor.shape == (1, 32, 32) for sample in drawn for tensor in sample)
    target, weights = (torch.cat([sample[part] for sample in drawn]) for part in (1, 2))
    assert 1 <= weights.min() <= weights.max() <= 6
    assert weights[target == 0].mean() > 2 * weights[target == 1].mean()


def test_batches_do_not_depend_on_workers_and_resume_exactly(cells_folder):
    stream = SampleStream(load_samples(cells_folder), SMALL, seed=5)
    alone = list(make_loader(stream, SMALL, 0, 4, workers=0, pin=False))
    shared = list(make_loader(stream, SMALL, 0, 4, workers=2, pin=False))
    later = list(make_loader(stream, SMALL, 2, 4, workers=0, pin=False))
    assert len(alone) == len(shared) == 4
    for one, other in [*zip(alone, shared, strict=True), *zip(alone[2:], later, strict=True)]:
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_crops_fit_the_images_and_targets_have_the_scale_of_the_net(cells_folder):
    net = SMALL.net.model_copy(update={"downsampling": 2})
    recipe = SMALL.model_copy(update={"net": net, "crop": 512})
    planes, target, weights = SampleStream(load_samples(cells_folder), recipe, seed=0)[0]
    assert planes.shape == (1, 96, 96)
    assert target.shape == weights.shape == (1, 48, 48)
    assert set(target.unique().tolist()) <= {0.0, 1.0}


def test_crops_around_the_foreground_contain_it():
    label = np.zeros((256, 256), np.uint8)
    label[200:204, 40:44] = 1
    still = GENTLE.model_copy(update={"scale": 1, "elastic": 0, "rotation": 0})
    recipe = SMALL.model_copy(update={"augmentation": still, "border_weight": 0, "foreground_crops": 1.0})
    around = SampleStream([Sample("a", label * 200, label)], recipe, seed=0)
    anywhere = SampleStream([Sample("a", label * 200, label)], recipe.model_copy(update={"foreground_crops": 0}), 0)
    assert all(around[position][1].any() for position in range(20))
    assert sum(bool(anywhere[position][1].any()) for position in range(20)) < 10


@pytest.mark.parametrize("recipe", [SMALL, SMALL.model_copy(update={"border_weight": 0}), TUTORIAL])
def test_ignored_pixels_have_weight_0_and_target_0(cells_folder, recipe):
    samples = load_samples(cells_folder)
    ignored = samples[0].label.copy()
    ignored[:, :48] = IGNORED
    samples[0] = replace(samples[0], label=ignored)
    drawn = [SampleStream(samples, recipe, seed=0)[position] for position in range(6)]
    assert len({weights.shape for _, _, weights in drawn}) == 1
    targets, weights = (torch.stack([each[part] for each in drawn]) for part in (1, 2))
    assert targets.unique().tolist() == [0, 1]
    assert (weights == 0).any()
    assert (targets[weights == 0] == 0).all()
