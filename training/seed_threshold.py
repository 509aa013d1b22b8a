"""The seed threshold of a weights file: the probability from which a pixel belongs to a seed of an object."""

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from model.outputs.objects import ObjectRule
from training.data import Sample
from training.scoring.objects import Matches, find_objects, labelled_objects, match_objects

CANDIDATES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

# The seed threshold of weights that no held-out images chose a better one for.
DEFAULT = 0.8


def choose_seed_threshold(
    probabilities: Sequence[NDArray[np.float32]], samples: Sequence[Sample], threshold: float
) -> float:
    """Chooses the seed threshold with the best F1 of objects, as the mean over the limits of IoU.

    A candidate's score is averaged with those of its neighbours, so that a plateau wins over a peak. The lowest
    candidate is the mask's own threshold, which splits no region. The lowest candidate wins ties.

    Args:
        probabilities: The samples' foreground probabilities, H x W each.
        samples: Held-out images.
        threshold: The mask's threshold.
    """
    candidates = [threshold, *(each for each in CANDIDATES if each > threshold)]
    pairs = list(zip(probabilities, samples, strict=True))
    scores = [
        float(np.mean(reduce(add, (_match(each, sample, threshold, candidate) for each, sample in pairs)).f1))
        for candidate in candidates
    ]
    return candidates[int(np.argmax(_smoothed(np.nan_to_num(scores))))]


def _match(probabilities: NDArray[np.float32], sample: Sample, threshold: float, seed_threshold: float) -> Matches:
    found = find_objects(probabilities, threshold, ObjectRule("seeds", seed_threshold))
    return match_objects(found, labelled_objects(sample), sample.counted)


def _smoothed(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Averages each score with its neighbours; the ends have one neighbour."""
    padded = np.pad(scores, 1, constant_values=np.nan)
    averages: NDArray[np.float64] = np.nanmean([padded[:-2], scores, padded[2:]], axis=0)
    return averages
