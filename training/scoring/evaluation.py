"""Scores of masks of one class on labelled images, at every threshold.

Shape letters: K classes, H height, W width, N images, T thresholds.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from training.scoring.degenerate import chance_finding, constant_finding, edge_finding, uniform_finding
from training.scoring.measures import (
    Measures,
    Structure,
    mean_of_defined,
)
from training.scoring.objective import OBJECTIVE_NAMES, Objective
from training.scoring.pixel_scores import PixelCounts, find_degenerate
from training.scoring.rand import THRESHOLDS
from training.scoring.tally import Plateau, Tally

# The column of an objective's own score, and the names of all scores in tables.
COLUMNS: dict[Objective, str] = {
    "v_rand": "v_rand",
    "objects": "object_score",
    "dice": "dice",
    "mean_dice": "mean_dice",
}


SCORE_NAMES = {
    "object_score": "object score",
    "v_rand": "V_rand",
    "v_info": "V_info",
    "f1": "F1",
    "mean_f1": "mean F1",
    "dice": "Dice",
    "cl_dice": "clDice",
    "image_dice": "image Dice",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "pixel_error": "pixel error",
    "foreground": "found share",
}


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image.

    Attributes:
        counts: Pixels at every threshold.
        loss: Sum of the cross-entropy over the counted pixels.
        structures: Scores of objects and lines, by threshold; not at all of them, since they cost time.
    """

    counts: PixelCounts
    loss: float
    structures: dict[float, Structure] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Scores of a net of one class.

    Attributes:
        measures: Which scores there are.
        images: Scores by name of the image.
        plateau: The thresholds that score best.
        constant_score: The objective's score of a mask that is all foreground; NaN if it is undefined.
        broken: Names of images whose probabilities are not all finite.
    """

    measures: Measures
    images: dict[str, ImageScores]
    plateau: Plateau
    constant_score: float
    broken: tuple[str, ...] = ()

    @property
    def objective(self) -> Objective:
        """The score that chooses threshold and weights."""
        return self.measures.objective

    @property
    def threshold(self) -> float:
        """The threshold that the plateau of the best scores suggests."""
        return self.plateau.threshold

    @property
    def loss(self) -> float:
        """Mean cross-entropy of a counted pixel, natural logarithm; NaN without any pixel."""
        return (
            sum(image.loss for image in self.images.values()) / self._total.pixels if self._total.pixels else math.nan
        )

    @property
    def columns(self) -> dict[str, str]:
        """The scores that suit the labels, the objective's own first: column and name."""
        wanted = {COLUMNS[self.objective], *self.measures.columns}
        chosen = [COLUMNS[self.objective], *(column for column in SCORE_NAMES if column in wanted)]
        return {column: SCORE_NAMES[column] for column in chosen}

    def tally(self, threshold: float | None = None) -> Tally:
        """Returns the objective's score as sums over the images that were scored at a threshold (default: the best)."""
        return objective_tally(self.objective, self.images.values(), self.threshold if threshold is None else threshold)

    def score(self, threshold: float | None = None) -> float:
        """Returns the objective's score at a threshold (default: the best); NaN if it is undefined."""
        tally = self.tally(threshold)
        return float(tally.value) if len(tally.numerators) else math.nan

    def scores(self, threshold: float | None = None) -> dict[str, float]:
        """Returns all scores of all images together, 0..1; NaN for those that were not computed at the threshold."""
        return self._scores(list(self.images.values()), self.threshold if threshold is None else threshold)

    def image_scores(self, name: str, threshold: float) -> dict[str, float]:
        """Returns all scores of one image."""
        return self._scores([self.images[name]], threshold)

    def ranked(self, threshold: float) -> list[tuple[str, dict[str, float]]]:
        """Returns images with their scores, the worst by the objective first, those without a score last."""
        scores = [(name, self.image_scores(name, threshold)) for name in self.images]
        return sorted(scores, key=lambda entry: or_infinite(entry[1][COLUMNS[self.objective]]))

    @property
    def is_degenerate(self) -> bool:
        """Reports whether even the best threshold finds nothing, or everything, in all images."""
        return bool(self._degenerate[self._total.thresholds.index(self.threshold)])

    def failures(self, threshold: float | None = None) -> list[str]:
        """Returns why the result must not be trusted at a threshold (default: the best); empty if it may be."""
        if self.broken:
            return [broken_finding(self.broken)]
        chosen = self.threshold if threshold is None else threshold
        total = self._total
        index = total.thresholds.index(chosen)
        if self._degenerate[index]:
            return [uniform_finding(int(total.found[index]), total.pixels, len(self.images))]
        name = OBJECTIVE_NAMES[self.objective]
        findings = [constant_finding(name, self.score(chosen), self.constant_score, "that is all foreground")]
        if self.objective == "objects":
            constant = 2 * total.foreground / (total.pixels + total.foreground)
            findings += [constant_finding("Dice", self.scores(chosen)["dice"], constant, "that is all foreground")]
            if self.scores(chosen)["f1"] == 0:
                findings.append("no found object matches a labelled one")
        counts = int(total.hits[index]), int(total.found[index]), total.foreground, total.pixels
        return [finding for finding in (*findings, chance_finding(*counts)) if finding]

    def warnings(self, threshold: float | None = None) -> list[str]:
        """Returns what else a reader should know about a threshold (default: the best)."""
        chosen = self.threshold if threshold is None else threshold
        findings = [edge_finding(chosen)]
        if not self._total.foreground:
            findings.append("no held-out label has any foreground, so how well it is found is unknown")
        return [finding for finding in findings if finding]

    def summary(self) -> dict[str, float]:
        """Returns all scores at the best threshold, that threshold and the loss, the objective's score first."""
        return {**self.scores(), "threshold": self.threshold, "validation_loss": self.loss}

    def to_json(self, stored_threshold: float) -> dict[str, object]:
        """Returns everything for `json.dumps`; scores that are undefined are left out."""
        thresholds = sorted({*THRESHOLDS, stored_threshold, self.threshold})
        images = {name: {f"{t:g}": defined(self.image_scores(name, t)) for t in thresholds} for name in self.images}
        return {
            "objective": self.objective,
            "images": images,
            "all": {f"{t:g}": defined(self.scores(t)) for t in thresholds},
            "best_threshold": self.threshold,
            "plateau": [self.plateau.low, self.plateau.high],
            "stored_threshold": stored_threshold,
            "failures": self.failures(stored_threshold),
            "warnings": self.warnings(stored_threshold),
        }

    @cached_property
    def _total(self) -> PixelCounts:
        return reduce(add, (image.counts for image in self.images.values()))

    @cached_property
    def _degenerate(self) -> NDArray[np.bool_]:
        return find_degenerate([image.counts for image in self.images.values()])

    def _scores(self, images: Sequence[ImageScores], threshold: float) -> dict[str, float]:
        counts = [image.counts for image in images]
        structures = [image.structures[threshold] for image in images if threshold in image.structures]
        tally = objective_tally(self.objective, images, threshold)
        known = {
            COLUMNS[self.objective]: float(tally.value) if len(tally.numerators) else math.nan,
            **reduce(add, counts).scores(threshold),
            "image_dice": mean_of_defined([each.scores(threshold)["dice"] for each in counts]),
            **Structure.scores(structures),
        }
        return {column: known[column] for column in self.columns}


def objective_tally(objective: Objective, images: Iterable[ImageScores], threshold: float) -> Tally:
    """Returns an objective's score at one threshold as sums over the images that have it."""
    numerators, denominators = [], []
    for image in images:
        index = image.counts.thresholds.index(threshold)
        pixels = 2 * image.counts.hits[index], image.counts.found[index] + image.counts.foreground
        if objective == "dice":
            parts = [pixels]
        elif threshold not in image.structures:
            continue
        elif objective == "objects" and (matches := image.structures[threshold].matches):
            parts = [(2 * matches.matched[0], matches.found + matches.labelled), pixels]
        else:
            v_rand = image.structures[threshold].v_rand
            parts = [(0, 0) if math.isnan(v_rand) else (v_rand, 1)]
        numerators.append([part[0] for part in parts])
        denominators.append([part[1] for part in parts])
    return Tally(np.array(numerators, np.float64), np.array(denominators, np.float64))


def defined(scores: dict[str, float]) -> dict[str, float]:
    """Returns the scores that are numbers: JSON has no NaN."""
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def or_infinite(value: float) -> float:
    """Returns the value, or infinity for NaN, so that images without a score come last."""
    return math.inf if math.isnan(value) else value


def broken_finding(images: tuple[str, ...]) -> str:
    """Returns a sentence that names the first images whose probabilities are not finite."""
    return f"the probabilities are not all finite: {', '.join(images[:6])}"
