"""How the objects of instance labels are found in a mask: how deep necks must be, and how small objects may be."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from model.outputs.objects import ObjectRule
from training.data.folder import Sample
from training.scoring.object_scores import Matches, find_objects, labelled_objects, match_objects

# Pixels. The last one splits hardly anything.
CANDIDATES = (0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 8.0, 16.0)

# The seed depth of weights that no held-out images chose a better one for.
DEFAULT_SEED_DEPTH = 0.75

# Found objects are dropped if they have less than this share of the area that all but 1% of the labelled ones reach.
_SHARE_OF_SMALLEST = 0.75
_SMALLEST_PERCENT = 1.0


def choose_seed_depth(
    rule: ObjectRule, probabilities: Sequence[NDArray[np.float32]], samples: Sequence[Sample], threshold: float
) -> ObjectRule:
    """Chooses the seed depth with the best F1 of objects, as the mean over the limits of IoU.

    A candidate's score is averaged with those of its neighbours, so that a plateau wins over a peak. Of equal
    candidates, the one that splits least wins.

    Args:
        rule: The other settings.
        probabilities: The samples' foreground probabilities, H x W each.
        samples: Held-out images.
        threshold: The mask's threshold.
    """
    rules = [replace(rule, kind="seeds", seed_depth=depth) for depth in reversed(CANDIDATES)]
    pairs = list(zip(probabilities, samples, strict=True))
    matches = [reduce(add, (_match(each, sample, threshold, tried) for each, sample in pairs)) for tried in rules]
    scores = np.nan_to_num([float(np.mean(each.f1)) for each in matches])
    return rules[int(np.argmax(_smoothed(scores)))]


def smallest_area(samples: Sequence[Sample]) -> int:
    """Returns the area in pixels below which a found object is no object; 0 if the labels have no ids."""
    areas = [np.bincount(sample.ids.ravel())[1:] for sample in samples if sample.ids is not None]
    labelled = np.concatenate([each[each > 0] for each in areas]) if areas else np.zeros(0)
    return int(_SHARE_OF_SMALLEST * np.percentile(labelled, _SMALLEST_PERCENT)) if labelled.size else 0


def _match(probabilities: NDArray[np.float32], sample: Sample, threshold: float, rule: ObjectRule) -> Matches:
    return match_objects(find_objects(probabilities, threshold, rule), labelled_objects(sample), sample.counted)


def _smoothed(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Averages each score with its neighbours; the ends have one neighbour."""
    padded = np.pad(scores, 1, constant_values=np.nan)
    averages: NDArray[np.float64] = np.nanmean([padded[:-2], scores, padded[2:]], axis=0)
    return averages
