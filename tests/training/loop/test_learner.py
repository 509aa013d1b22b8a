import copy
from dataclasses import replace

import pytest
import torch

from training.loop.learner import Learner
from training.loop.machine import Machine
from training.recipe import DEFAULT

CPU = Machine(torch.device("cpu"))
SMALL = DEFAULT.model_copy(update={"net": DEFAULT.net.model_copy(update={"width": 4}), "batch": 4})


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(torch.randn(4, 1, 8, 8, generator=generator), size=(32, 32))
    return images, (images > 0).float(), torch.ones(4, 1, 1, 1)


def test_training_reduces_the_loss_and_the_average_follows():
    learner = Learner(SMALL, 200, CPU, seed=0)
    losses = []
    for _ in range(200):
        losses.append(learner.gradients(*_batch()))
        learner.update()
    assert losses[-1] < 0.8 * losses[0]
    name, weight = next(iter(learner.net.named_parameters()))
    averaged = dict(learner.averaged.named_parameters())[name]
    assert not torch.equal(weight, averaged)
    assert torch.allclose(weight, averaged, atol=0.2)


def test_the_gradients_of_parts_are_the_mean_of_their_own():
    images, targets, weights = _batch()
    parts, first, second = (Learner(SMALL, 10, replace(CPU, parts=parts), seed=0) for parts in (2, 1, 1))
    loss = parts.gradients(images, targets, weights)
    halves = (
        first.gradients(images[:2], targets[:2], weights[:2]),
        second.gradients(images[2:], targets[2:], weights[2:]),
    )
    assert loss == pytest.approx(sum(halves) / 2)
    for nets in zip(*(learner.net.parameters() for learner in (parts, first, second)), strict=True):
        whole, one, other = (parameter.grad for parameter in nets)
        assert whole is not None
        assert one is not None
        assert torch.allclose(whole, (one + other) / 2, atol=1e-5)


def test_its_state_brings_it_back_exactly():
    learner, other = (Learner(SMALL, 10, CPU, seed=seed) for seed in (0, 1))
    for _ in range(3):
        learner.gradients(*_batch())
        learner.update()
    other.load_state(copy.deepcopy(learner.state()))
    for each in (learner, other):
        each.gradients(*_batch())
        each.update()
    one, two = learner.averaged.state_dict(), other.averaged.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("steps", [10, 100])
def test_the_average_is_of_the_last_steps_however_few_there_were(steps):
    learner = Learner(SMALL, steps, CPU, seed=0)
    for step in range(steps):
        for parameter in learner.net.parameters():
            torch.nn.init.constant_(parameter, step)
        learner.update()  # without gradients: the optimizer leaves the weights as they are
    averaged = torch.cat([parameter.flatten() for parameter in learner.averaged.parameters()])
    assert 0.7 * steps < averaged.min() <= averaged.max() < steps - 1
