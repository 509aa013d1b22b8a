import math

import pytest
import torch

from training.loop.losses import bce, bce_background_dice, bce_dice, cross_entropy, cross_entropy_dice

ALIKE = torch.ones(1, 1, 1, 1)


def test_bce_of_undecided_is_log_2():
    assert math.isclose(bce(torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4), ALIKE).item(), math.log(2), rel_tol=1e-6)


def test_a_perfect_answer_costs_nothing():
    targets = (torch.arange(32).reshape(1, 1, 4, 8) % 3 == 0).float()
    assert bce_dice(40 * (2 * targets - 1), targets, ALIKE).item() < 1e-6


def test_dice_is_worked_by_hand():
    targets = torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]])
    foreground = (2 * 1.5 + 1) / (1 + 3 + 1)  # p = 1/2 in 3 pixels: overlap 1.5, sum of squares 4 / 4
    background = (2 * 0.5 + 1) / (1 + 1 + 1)
    dice = (1 - foreground + 1 - background) / 2
    assert math.isclose(bce_dice(torch.zeros_like(targets), targets, ALIKE).item(), math.log(2) + dice, rel_tol=1e-6)
    expected = math.log(2) + 1 - background
    assert math.isclose(bce_background_dice(torch.zeros_like(targets), targets, ALIKE).item(), expected, rel_tol=1e-6)


def test_weights_say_how_much_a_pixel_counts():
    logits, targets = torch.tensor([[[[0.0, 0.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
    assert math.isclose(bce(logits, targets, torch.tensor([[[[3.0, 0.0]]]])).item(), 3 * math.log(2) / 2, rel_tol=1e-6)


CLASSES = torch.arange(24).reshape(1, 1, 4, 6) % 3


def test_a_perfect_class_map_has_zero_loss():
    sure = 40 * (torch.arange(3)[None, :, None, None] == CLASSES).float()
    assert cross_entropy_dice(sure, CLASSES.float(), ALIKE).item() < 1e-6


def test_loss_of_undecided_classes_is_log_k_plus_mean_dice_loss():
    undecided = torch.zeros(1, 3, 4, 6)
    assert math.isclose(cross_entropy(undecided, CLASSES.float(), ALIKE).item(), math.log(3), rel_tol=1e-6)
    dice = 1 - (2 * 8 / 3 + 1) / (24 / 9 + 8 + 1)  # p = 1/3 everywhere, 8 pixels of each class
    expected = math.log(3) + dice
    assert math.isclose(cross_entropy_dice(undecided, CLASSES.float(), ALIKE).item(), expected, rel_tol=1e-6)


def test_border_weights_of_classes_apply_per_pixel():
    logits, targets = torch.zeros(1, 3, 1, 2), torch.tensor([[[[2.0, 1.0]]]])
    loss = cross_entropy(logits, targets, torch.tensor([[[[3.0, 0.0]]]]))
    assert math.isclose(loss.item(), 3 * math.log(3) / 2, rel_tol=1e-6)


@pytest.mark.parametrize("loss", [bce_dice, bce_background_dice, cross_entropy_dice])
def test_pixels_of_weight_0_change_neither_loss_nor_gradient(loss):
    generator = torch.Generator().manual_seed(0)
    channels = 3 if loss is cross_entropy_dice else 1
    logits = torch.randn(2, channels, 4, 6, generator=generator)
    targets = torch.randint(0, max(2, channels), (2, 1, 4, 6), generator=generator).float()
    weights = torch.ones(2, 1, 4, 6)
    weights[:, :, :, 4:] = 0
    other_logits, other_targets = logits.clone(), targets.clone()
    other_logits[..., 4:], other_targets[..., 4:] = 9, 1 - other_targets[..., 4:].clamp(max=1)
    logits.requires_grad_()
    assert torch.equal(loss(logits, targets, weights), loss(other_logits, other_targets, weights))
    loss(logits, targets, weights).backward()
    assert logits.grad is not None
    assert (logits.grad[..., 4:] == 0).all()
    assert (logits.grad[..., :4] != 0).any()


def test_ignored_pixels_leave_the_dice_of_the_others():
    targets = torch.tensor([[[[1.0, 0.0, 1.0, 1.0]]]])
    weights = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
    logits = torch.tensor([[[[40.0, -40.0, -40.0, -40.0]]]])
    assert bce_dice(logits, targets, weights).item() < 1e-6
