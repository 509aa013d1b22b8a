"""Losses on logits N x K x H x W and targets N x 1 x H x W: 0 or 1 for one class (K = 1), else class indices; float.

`weights`, N x 1 x H x W or what broadcasts to it, is how much each pixel counts in the cross-entropy.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def bce(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over all pixels."""
    return F.binary_cross_entropy_with_logits(logits, targets, weights)


def bce_dice(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy plus the mean soft Dice loss of foreground and background.

    Dice as in Milletari et al. 2016 (V-Net), section 3, over a batch. Both, because either may be the thin one: a
    membrane is background here, and a foreground Dice hardly feels it.
    """
    p = logits.sigmoid()
    return bce(logits, targets, weights) + (_dice_loss(p, targets) + _dice_loss(1 - p, 1 - targets)) / 2


def bce_background_dice(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy plus the soft Dice loss of the background alone: the membranes, where the foreground is cells."""
    return bce(logits, targets, weights) + _dice_loss(1 - logits.sigmoid(), 1 - targets)


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Of several classes, the mean over all pixels."""
    return (F.cross_entropy(logits, targets[:, 0].long(), reduction="none")[:, None] * weights).mean()


def cross_entropy_dice(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy plus the mean soft Dice loss of all classes, the background among them, as `bce_dice`."""
    p = logits.softmax(dim=1).unbind(dim=1)
    dice = [_dice_loss(of_class, (targets[:, 0] == index).float()) for index, of_class in enumerate(p)]
    return cross_entropy(logits, targets, weights) + torch.stack(dice).mean()


def _dice_loss(p: Tensor, targets: Tensor) -> Tensor:
    overlap = 2 * (p * targets).sum()
    total = (p * p).sum() + (targets * targets).sum()
    return 1 - (overlap + 1) / torch.clamp(total + 1, min=1)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    loss.__name__: loss for loss in (bce, bce_dice, bce_background_dice, cross_entropy, cross_entropy_dice)
}

# What a loss of one class becomes for several.
OF_SEVERAL_CLASSES = {"bce": "cross_entropy", "bce_dice": "cross_entropy_dice"}
