import math

import torch

from training.losses import bce, bce_background_dice, bce_dice, cross_entropy, cross_entropy_dice

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


def test_of_several_classes_a_perfect_answer_costs_nothing():
    sure = 40 * (torch.arange(3)[None, :, None, None] == CLASSES).float()
    assert cross_entropy_dice(sure, CLASSES.float(), ALIKE).item() < 1e-6


def test_of_several_classes_undecided_is_the_logarithm_and_each_classs_dice():
    undecided = torch.zeros(1, 3, 4, 6)
    assert math.isclose(cross_entropy(undecided, CLASSES.float(), ALIKE).item(), math.log(3), rel_tol=1e-6)
    dice = 1 - (2 * 8 / 3 + 1) / (24 / 9 + 8 + 1)  # p = 1/3 everywhere, 8 pixels of each class
    expected = math.log(3) + dice
    assert math.isclose(cross_entropy_dice(undecided, CLASSES.float(), ALIKE).item(), expected, rel_tol=1e-6)


def test_of_several_classes_weights_count_pixel_by_pixel():
    logits, targets = torch.zeros(1, 3, 1, 2), torch.tensor([[[[2.0, 1.0]]]])
    loss = cross_entropy(logits, targets, torch.tensor([[[[3.0, 0.0]]]]))
    assert math.isclose(loss.item(), 3 * math.log(3) / 2, rel_tol=1e-6)
