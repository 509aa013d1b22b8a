"""Scores of objects and lines in one image: which of them suit the labels, and how much time they may take."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from model.outputs.objects import REGIONS, ObjectRule
from training.data.folder import Sample
from training.data.inspection import background_is_borders, foreground_is_thin
from training.scoring.centrelines import Centrelines
from training.scoring.object_scores import Matches, find_objects, foreground_of, labelled_objects, match_objects
from training.scoring.objective import Objective
from training.scoring.pixel_scores import Probabilities
from training.scoring.rand import THRESHOLDS, nearest_segments, rand_and_information, segments

PIXEL_COLUMNS = ("dice", "image_dice", "iou", "precision", "recall", "pixel_error", "foreground")

# Pixels of held-out images whose objects and lines are scored at each check.
QUICK_PIXELS = 1e6
_GOLDEN = (5**0.5 - 1) / 2  # its multiples, modulo 1, are spread evenly
# Pixels whose V_rand is computed at five thresholds at the end of a training. A watershed takes 0.7 s a megapixel.
SEGMENT_PIXELS = 0.8e6
# Pixels whose objects are matched at nine thresholds at the end of a training, and whose seed depth is chosen. It takes
# 0.03 s per megapixel and threshold, or 0.2 s if regions are split.
OBJECT_PIXELS = 8e6


@dataclass(frozen=True)
class Effort:
    """How much time the slow scores may take: V_rand, objects and clDice.

    Attributes:
        segment_pixels: Pixels of the images whose V_rand chooses the threshold, if V_rand is the objective.
        object_pixels: Pixels of the images whose objects choose the threshold, if the object score is the objective.
        pixels: Pixels of the images whose slow scores are computed at the best and the stored threshold.
        quick: V_rand grows segments to the nearest pixel instead of by a watershed, and only the best threshold counts.
        around: Slow scores are tried at this threshold and its two neighbours only; None for no such limit.
    """

    segment_pixels: float = math.inf
    object_pixels: float = math.inf
    pixels: float = math.inf
    quick: bool = False
    around: float | None = None

    def grid_pixels(self, objective: Objective) -> float:
        """Returns the pixels of the images whose slow scores choose the threshold."""
        return self.segment_pixels if objective == "v_rand" else self.object_pixels

    def thresholds(self, objective: Objective) -> list[float]:
        """Returns the thresholds that a slow objective is tried at: all, every second one, or three."""
        if self.around is None:
            is_bounded = objective == "v_rand" and math.isfinite(self.segment_pixels)
            return list(THRESHOLDS[::2] if is_bounded else THRESHOLDS)
        distances = [abs(threshold - self.around) for threshold in THRESHOLDS]
        nearest = distances.index(min(distances))
        return list(THRESHOLDS[max(0, nearest - 1) : nearest + 2])


FULL = Effort()
BOUNDED = Effort(SEGMENT_PIXELS, OBJECT_PIXELS)


def quick(around: float) -> Effort:
    """Returns the effort of a check during a training; `around` is the threshold of the weights kept so far."""
    return Effort(QUICK_PIXELS, QUICK_PIXELS, QUICK_PIXELS, quick=True, around=around)


@dataclass(frozen=True)
class Structure:
    """Scores of objects and lines of one image at one threshold.

    Attributes:
        v_rand: NaN if undefined or not wanted.
        v_info: NaN if undefined or not wanted.
        matches: Numbers of objects; None if not wanted.
        centrelines: Numbers of centreline pixels; None if not wanted.
    """

    v_rand: float = math.nan
    v_info: float = math.nan
    matches: Matches | None = None
    centrelines: Centrelines | None = None

    @staticmethod
    def scores(structures: Sequence["Structure"]) -> dict[str, float]:
        """Returns the scores of several images: V_rand and V_info as means, the others pooled; NaN if undefined."""
        matches = [each.matches for each in structures if each.matches]
        lines = [each.centrelines for each in structures if each.centrelines]
        f1 = reduce(add, matches).f1 if matches else (math.nan,)
        return {
            "v_rand": mean_of_defined([each.v_rand for each in structures]),
            "v_info": mean_of_defined([each.v_info for each in structures]),
            "f1": f1[0],
            "mean_f1": float(np.mean(f1)),
            "cl_dice": reduce(add, lines).cl_dice if lines else math.nan,
        }


@dataclass(frozen=True)
class Measures:
    """Which scores to compute.

    Attributes:
        objective: The score that chooses threshold and weights.
        segments: V_rand and V_info.
        matches: F1 scores of objects.
        centrelines: clDice.
        rule: How masks become objects.
    """

    objective: Objective
    segments: bool = False
    matches: bool = True
    centrelines: bool = False
    rule: ObjectRule = REGIONS

    @classmethod
    def suited_to(cls, samples: list[Sample], objective: Objective, rule: ObjectRule = REGIONS) -> "Measures":
        """Returns the objective's scores and those that make sense for the labels."""
        if objective == "mean_dice":
            return cls(objective, matches=False)
        thin = foreground_is_thin(samples)
        return cls(
            objective,
            segments=objective == "v_rand" or background_is_borders(samples),
            matches=objective == "objects" or not thin,
            centrelines=thin,
            rule=rule,
        )

    @property
    def of_objective(self) -> "Measures":
        """The scores that the objective needs, and no others."""
        chosen = self.objective
        return replace(self, segments=chosen == "v_rand", matches=chosen == "objects", centrelines=False)

    @property
    def in_checks(self) -> "Measures":
        """The scores that a check has time for: objects that a watershed grows only if they are the objective."""
        return replace(self, matches=self.matches and (self.objective == "objects" or self.rule.kind == "regions"))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the scores, without the objective's own."""
        slow = {"segments": ("v_rand", "v_info"), "matches": ("f1", "mean_f1"), "centrelines": ("cl_dice",)}
        wanted = [columns for name, columns in slow.items() if getattr(self, name)]
        return (*(column for columns in wanted for column in columns), *PIXEL_COLUMNS)


def measure_structure(
    probabilities: Probabilities, threshold: float, sample: Sample, measures: Measures, *, is_quick: bool
) -> Structure:
    """Scores objects and lines of one image, probabilities H x W, at one threshold."""
    v_rand = v_info = math.nan
    labelled = labelled_objects(sample) if measures.segments or measures.matches else None
    if measures.segments and labelled is not None:
        divide = nearest_segments if is_quick else segments
        v_rand, v_info = rand_and_information(divide(probabilities, threshold), labelled)
    matches = lines = None
    if measures.matches and labelled is not None:
        found = find_objects(probabilities, threshold, measures.rule)
        matches = match_objects(found, labelled, sample.counted)
    if measures.centrelines:
        lines = Centrelines.of((probabilities >= np.float32(threshold)) & sample.counted, foreground_of(sample))
    return Structure(v_rand, v_info, matches, lines)


def spread(samples: list[Sample], pixels: float) -> list[Sample]:
    """Returns samples from all over the list that have at most as many pixels as given, at least one sample."""
    chosen: list[int] = []
    left = pixels
    for index in sorted(range(len(samples)), key=lambda index: index * _GOLDEN % 1):
        if samples[index].label.size <= left or not chosen:
            chosen.append(index)
            left -= samples[index].label.size
    return [samples[index] for index in sorted(chosen)]


def mean_of_defined(values: Sequence[float]) -> float:
    """Returns the mean of the values that are not NaN; NaN if there are none."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan
