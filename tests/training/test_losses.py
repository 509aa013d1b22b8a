import math

import torch

from training.losses import bce, bce_background_dice, bce_dice

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
