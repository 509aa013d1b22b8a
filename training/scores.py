"""Scores of a segmentation: those of the ISBI 2012 challenge (Arganda-Carreras et al. 2015) and the usual ones.

All take one image: `probabilities` H x W float in 0..1 and `label` H x W bool, True = foreground (cell interior).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as connected_components

from model.outputs.objects import thin_borders

Probabilities = NDArray[np.float32]
Label = NDArray[np.bool_]
Segments = NDArray[np.int64]

THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))


@dataclass(frozen=True)
class Scores:
    """At one threshold, all 0..1.

    `v_rand`, `v_info`: foreground-restricted Rand and information F-scores. `dice`, `iou`: of the foreground, and of
    the background. `pixel_error`: share of wrong pixels. `foreground`: share of pixels found to be foreground.
    """

    v_rand: float
    v_info: float
    dice: float
    iou: float
    background_dice: float
    background_iou: float
    pixel_error: float
    foreground: float


def score(probabilities: Probabilities, label: Label, threshold: float) -> Scores:
    """All scores of one image at one threshold (p > threshold is foreground)."""
    foreground = probabilities > threshold
    v_rand, v_info = rand_and_information(segments(probabilities, threshold), label)
    dice, iou = _overlap(foreground, label)
    background_dice, background_iou = _overlap(~foreground, ~label)
    return Scores(
        v_rand=v_rand,
        v_info=v_info,
        dice=dice,
        iou=iou,
        background_dice=background_dice,
        background_iou=background_iou,
        pixel_error=float(np.mean(foreground != label)),
        foreground=float(np.mean(foreground)),
    )


def segments(probabilities: Probabilities, threshold: float) -> Segments:
    """H x W segment numbers: the 4-connected components of p > threshold, grown until one-pixel lines are left.

    Every line pixel is a segment of its own.
    """
    seeds = connected_components(probabilities > threshold, connectivity=1)
    grown: Segments = thin_borders(seeds, -probabilities).astype(np.int64)
    lines = grown == 0
    grown[lines] = grown.max() + 1 + np.arange(np.count_nonzero(lines))
    return grown


def rand_and_information(proposal: Segments, label: Label) -> tuple[float, float]:
    """(V_rand, V_info) of segments H x W against the 4-connected components of the label's foreground.

    Arganda-Carreras et al. 2015, equations 1 to 4 with alpha = 1/2: only foreground pixels of the label count, p_ij
    is their joint histogram, s_i and t_j its sums. V_rand = 2 sum p_ij^2 / (sum s_i^2 + sum t_j^2), V_info = 2
    I(S;T) / (H(S) + H(T)). Both are 1 for a label without foreground.
    """
    if not label.any():
        return 1.0, 1.0
    truth = connected_components(label, connectivity=1)[label].astype(np.int64)
    found = proposal[label]
    n = truth.size
    joint, t, s = (
        np.unique(ids, return_counts=True)[1] / n for ids in (truth * (found.max() + 1) + found, truth, found)
    )
    v_rand = 2 * np.square(joint).sum() / (np.square(s).sum() + np.square(t).sum())
    entropies = _entropy(s) + _entropy(t)
    mutual = entropies - _entropy(joint)
    return float(v_rand), float(2 * mutual / entropies) if entropies else 1.0


def _overlap(found: Label, wanted: Label) -> tuple[float, float]:
    """(Dice, IoU); both are 1 where there is nothing to find and nothing found."""
    both, either = float(np.count_nonzero(found & wanted)), float(np.count_nonzero(found | wanted))
    return (2 * both / (both + either), both / either) if either else (1.0, 1.0)


def _entropy(p: NDArray[np.float64]) -> float:
    return float(-(p * np.log(p)).sum())
