"""Losses on logits N x K x H x W and targets N x 1 x H x W: 0 or 1 for one class (K = 1), else class indices; float.

`weights`, N x 1 x H x W or broadcastable to this shape, says how much each pixel counts in the cross-entropy. Pixels of
weight 0 are ignored: they add nothing to the cross-entropy's sum nor to Dice. A `Share` of a batch may be empty
(N = 0); each loss is that of the whole batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Share:
    """The share of a batch that this process computes: `fraction` of its images. `total` adds up all shares."""

    fraction: float = 1.0
    total: Callable[[Tensor], Tensor] = lambda values: values

    def mean(self, mean: Tensor) -> Tensor:
        """Mean over the whole batch, computed from the mean of this process's images (NaN if it has none)."""
        return self.total(mean * self.fraction if self.fraction else mean.nan_to_num())


WHOLE = Share()


def bce(logits: Tensor, targets: Tensor, weights: Tensor, share: Share = WHOLE) -> Tensor:
    """Binary cross-entropy, the mean over all pixels."""
    return share.mean(F.binary_cross_entropy_with_logits(logits, targets, weights))


def bce_dice(logits: Tensor, targets: Tensor, weights: Tensor, share: Share = WHOLE) -> Tensor:
    """Cross-entropy plus the mean soft Dice loss of foreground and background.

    Dice as in Milletari et al. 2016 (V-Net), section 3, over a batch. Both, because either may be the thin one: a
    membrane is background here, and a foreground Dice hardly feels it.
    """
    p = logits.sigmoid()
    cross = bce(logits, targets, weights, share)
    counted = _counted(weights)
    return cross + (_dice_loss(p, targets, counted, share) + _dice_loss(1 - p, 1 - targets, counted, share)) / 2


def bce_background_dice(logits: Tensor, targets: Tensor, weights: Tensor, share: Share = WHOLE) -> Tensor:
    """Cross-entropy plus the soft Dice loss of the background only."""
    background = _dice_loss(1 - logits.sigmoid(), 1 - targets, _counted(weights), share)
    return bce(logits, targets, weights, share) + background


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, share: Share = WHOLE) -> Tensor:
    """Cross-entropy of several classes, the mean over all pixels."""
    each = F.cross_entropy(logits, targets[:, 0].long(), reduction="none")
    return share.mean((each[:, None] * weights).mean())


def cross_entropy_dice(logits: Tensor, targets: Tensor, weights: Tensor, share: Share = WHOLE) -> Tensor:
    """Cross-entropy plus the mean soft Dice loss of all classes, the background among them, as `bce_dice`."""
    p = logits.softmax(dim=1).unbind(dim=1)
    counted = _counted(weights)[:, 0]
    dice = [_dice_loss(of_class, (targets[:, 0] == index).float(), counted, share) for index, of_class in enumerate(p)]
    return cross_entropy(logits, targets, weights, share) + torch.stack(dice).mean()


def _counted(weights: Tensor) -> Tensor:
    """1 for pixels that count, 0 for ignored pixels, in the shape of the weights."""
    return (weights > 0).to(weights.dtype)


def _dice_loss(p: Tensor, targets: Tensor, counted: Tensor, share: Share) -> Tensor:
    """1 - soft Dice over the pixels where `counted` is 1."""
    p, targets = p * counted, targets * counted
    # sums over all shares, since the Dice of a batch is not the mean of its images'
    sums = torch.stack((2 * (p * targets).sum(), (p * p).sum() + (targets * targets).sum()))
    overlap, total = share.total(sums).unbind()
    return 1 - (overlap + 1) / (total + 1)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Share], Tensor]] = {
    loss.__name__: loss for loss in (bce, bce_dice, bce_background_dice, cross_entropy, cross_entropy_dice)
}

# What a loss of one class becomes for several.
OF_SEVERAL_CLASSES = {"bce": "cross_entropy", "bce_dice": "cross_entropy_dice"}
