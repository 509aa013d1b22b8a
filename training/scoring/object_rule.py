"""The object rule of instance labels: how deep a neck must be to split a region, and how small an object may be."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.outputs.objects import ObjectRule
from training.data.folder import Sample
from training.scoring.object_scores import Matches, find_objects, labelled_objects, match_objects

# Pixels. The last one splits hardly anything.
CANDIDATES = (0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 8.0, 16.0)

# The seed depth of weights that no held-out images chose a better one for.
DEFAULT_SEED_DEPTH = 0.75

# The smallest object has this share of the area that all but a few percent of the labelled objects reach: the first
# of the percentages, unless held-out images choose another one.
_SHARE_OF_SMALLEST = 0.75
_PERCENTAGES = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0)

Score: TypeAlias = Callable[[ObjectRule], float]
"""The F1 of objects that a rule reaches, as the mean over the limits of IoU; 0 if there are no objects."""


def choose_object_rule(
    rule: ObjectRule,
    probabilities: Sequence[NDArray[np.float32]],
    samples: Sequence[Sample],
    threshold: float,
    areas: Sequence[int] = (),
) -> ObjectRule:
    """Chooses seed depth, then minimum area, with the best F1 of objects, as the mean over the limits of IoU.

    A candidate's score is averaged with those of its neighbours, so that a plateau wins over a peak. Of equal
    candidates, the rule that splits least and drops least wins.

    Args:
        rule: The other settings.
        probabilities: The samples' foreground probabilities, H x W each.
        samples: Held-out images.
        threshold: The mask's threshold.
        areas: Candidates of the minimum area besides that of `rule`.
    """

    def score(tried: ObjectRule) -> float:
        pairs = zip(probabilities, samples, strict=True)
        matches = reduce(add, (_match(each, sample, threshold, tried) for each, sample in pairs))
        return float(np.nan_to_num(np.mean(matches.f1)))

    rule = _best([replace(rule, kind="seeds", seed_depth=depth) for depth in reversed(CANDIDATES)], score)
    return _best([replace(rule, min_area=area) for area in sorted({rule.min_area, *areas})], score)


def candidate_areas(samples: Sequence[Sample]) -> list[int]:
    """Returns candidates of the minimum area in pixels, from the areas of all labelled objects."""
    return [_small_area(samples, percent) for percent in _PERCENTAGES]


def smallest_area(samples: Sequence[Sample]) -> int:
    """Returns the area in pixels below which a found object is no object; 0 if the labels have no ids."""
    return _small_area(samples, _PERCENTAGES[0])


def _small_area(samples: Sequence[Sample], percent: float) -> int:
    """Returns a share of the area in pixels that all but `percent` of the labelled objects reach."""
    areas = [np.bincount(sample.ids.ravel())[1:] for sample in samples if sample.ids is not None]
    labelled = np.concatenate([each[each > 0] for each in areas]) if areas else np.zeros(0)
    return int(_SHARE_OF_SMALLEST * np.percentile(labelled, percent)) if labelled.size else 0


def _best(rules: Sequence[ObjectRule], score: Score) -> ObjectRule:
    """Returns the rule with the best smoothed score, the first one of equals."""
    return rules[int(np.argmax(_smoothed(np.array([score(rule) for rule in rules]))))]


def _match(probabilities: NDArray[np.float32], sample: Sample, threshold: float, rule: ObjectRule) -> Matches:
    return match_objects(find_objects(probabilities, threshold, rule), labelled_objects(sample), sample.counted)


def _smoothed(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Averages each score with its neighbours; the ends have one neighbour."""
    padded = np.pad(scores, 1, constant_values=np.nan)
    averages: NDArray[np.float64] = np.nanmean([padded[:-2], scores, padded[2:]], axis=0)
    return averages
