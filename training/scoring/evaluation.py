"""Scores of predictions on labelled images.

The predictions come from the same `Segmenter` as the service's, so the scores are those of what the service returns.
Shape letters: K classes, H height, W width, N images, T thresholds.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.engines.engine import Array
from model.segmenter import ImageTask, Segmenter, TileInput, to_mask
from model.tiles import Tile
from training.data.folder import Sample
from training.scoring.class_scores import ClassMap, Confusion
from training.scoring.degenerate import chance_finding, constant_finding, edge_finding, uniform_finding
from training.scoring.measures import (
    FULL,
    Effort,
    Measures,
    Structure,
    mean_of_defined,
    measure_structure,
    spread,
)
from training.scoring.object_scores import foreground_of, labelled_objects
from training.scoring.objective import OBJECTIVE_NAMES, Objective
from training.scoring.pixel_scores import FINE, SMALLEST, PixelCounts, Probabilities, cross_entropy, find_degenerate
from training.scoring.rand import THRESHOLDS, v_rand_of_one_segment
from training.scoring.tally import Plateau, Tally, find_plateau

Picture = NDArray[np.uint8]
Predictor = Callable[[Sample], Probabilities]
Observer = Callable[[Sample, NDArray[Any]], None]

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

# Pixels of predictions that are kept between two passes over the images: 4 bytes each.
CACHED_PIXELS = 32e6


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
        """The middle of the plateau of thresholds that score best."""
        return self.plateau.middle

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
        return sorted(scores, key=lambda entry: _or_infinite(entry[1][COLUMNS[self.objective]]))

    @property
    def is_degenerate(self) -> bool:
        """Reports whether even the best threshold finds nothing, or everything, in all images."""
        return bool(self._degenerate[self._total.thresholds.index(self.threshold)])

    def failures(self, threshold: float | None = None) -> list[str]:
        """Returns why the result must not be trusted at a threshold (default: the best); empty if it may be."""
        if self.broken:
            return [_not_numbers(self.broken)]
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


@dataclass(frozen=True)
class ClassEvaluation:
    """Scores of a net of several classes.

    Attributes:
        images: Confusions by name of the image.
        loss: Mean cross-entropy of a counted pixel, natural logarithm.
        broken: Names of images whose probabilities are not all finite.
    """

    images: dict[str, Confusion]
    loss: float = math.nan
    broken: tuple[str, ...] = ()
    objective: Objective = "mean_dice"

    def ranked(self) -> list[tuple[str, Confusion]]:
        """Returns images with their confusions, the worst mean Dice first."""
        return sorted(self.images.items(), key=lambda entry: _or_infinite(entry[1].mean_dice))

    @property
    def total(self) -> Confusion:
        """All images together, so that a class counts where it is."""
        return reduce(add, self.images.values())

    def tally(self) -> Tally:
        """Returns the mean Dice of the labelled foreground classes as sums over the images."""
        classes = self.total.foreground
        confusions = list(self.images.values())
        numerators = [[2 * each.pixels[index, index] for index in classes] for each in confusions]
        denominators = [[each.areas(index) for index in classes] for each in confusions]
        return Tally(np.array(numerators, np.float64), np.array(denominators, np.float64))

    def score(self) -> float:
        """Returns the mean Dice of the labelled foreground classes; NaN without any pixel."""
        return self.total.mean_dice

    @property
    def is_degenerate(self) -> bool:
        """Reports whether a single class is found in all images although the labels have several."""
        return len(self._found) == 1 and len(self.total.labelled) > 1

    def failures(self) -> list[str]:
        """Returns why the result must not be trusted; empty if it may be."""
        if self.broken:
            return [_not_numbers(self.broken)]
        if self.is_degenerate:
            return [f"class {self._found[0]} is found everywhere in all {len(self.images)} images"]
        return [finding for finding in (self._constant_finding(), self._chance_finding()) if finding]

    def warnings(self) -> list[str]:
        """Returns what else a reader should know."""
        only_background = not any(self.total.labelled)
        return ["no held-out label has any foreground class"] if only_background else []

    def summary(self) -> dict[str, float]:
        """Returns the scores of all images together and the loss, the mean Dice first."""
        return {**self.total.scores(), "validation_loss": self.loss}

    def to_json(self) -> dict[str, object]:
        """Returns everything for `json.dumps`; scores that are undefined are left out."""
        images = {name: defined(confusion.scores()) for name, confusion in self.images.items()}
        findings = {"failures": self.failures(), "warnings": self.warnings()}
        return {"objective": self.objective, "images": images, "all": defined(self.total.scores()), **findings}

    @property
    def _found(self) -> list[int]:
        return [int(index) for index in np.flatnonzero(self.total.pixels.sum(axis=0))]

    def _constant_finding(self) -> str:
        total = self.total
        best = max(total.foreground, key=lambda index: total.labelled.get(index, 0))
        share = total.labelled.get(best, 0)
        constant = 2 * share / (1 + share) / len(total.foreground)
        return constant_finding("mean Dice", self.score(), constant, f"that is all class {best}")

    def _chance_finding(self) -> str:
        """A finding only if chance explains every labelled foreground class."""
        pixels = self.total.pixels
        findings = [
            chance_finding(
                int(pixels[index, index]), int(pixels[:, index].sum()), int(pixels[index].sum()), int(pixels.sum())
            )
            for index in self.total.foreground
        ]
        return findings[0] if all(findings) else ""


AnyEvaluation: TypeAlias = Evaluation | ClassEvaluation


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


def _or_infinite(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _not_numbers(images: tuple[str, ...]) -> str:
    return f"the probabilities are not all finite: {', '.join(images[:6])}"


class PredictionCache:
    """Predictions of images by name, kept up to a number of pixels; others are computed each time.

    Further passes over the images, or other scores of the same weights, then cost no second prediction.
    """

    def __init__(self, pixels: float = CACHED_PIXELS) -> None:
        self._kept: dict[str, Probabilities] = {}
        self._left = pixels

    def get(self, predict: Predictor, sample: Sample) -> Probabilities:
        """Returns the probabilities of a sample, H x W."""
        if sample.name in self._kept:
            return self._kept[sample.name]
        probabilities = predict(sample)
        if probabilities.size <= self._left:
            self._left -= probabilities.size
            self._kept[sample.name] = probabilities
        return probabilities


def evaluate_net(
    segmenter: Segmenter,
    samples: list[Sample],
    measures: Measures,
    seen: Observer = lambda *_: None,
    effort: Effort = FULL,
    cache: PredictionCache | None = None,
) -> AnyEvaluation:
    """Scores a net on samples; `seen` gets each sample with its probabilities or class indices, H x W."""
    if segmenter.description.architecture.classes > 1:
        return evaluate_classes(segmenter, samples, seen)
    return evaluate(segmenter, samples, measures, seen, effort, cache)


def evaluate(
    segmenter: Segmenter,
    samples: list[Sample],
    measures: Measures,
    seen: Observer = lambda *_: None,
    effort: Effort = FULL,
    cache: PredictionCache | None = None,
) -> Evaluation:
    """Scores a net of one class; `seen` gets each sample with its probabilities, H x W."""
    return evaluate_predictions(
        predictor(segmenter), segmenter.description.threshold, samples, measures, seen, effort, cache
    )


def predictor(segmenter: Segmenter) -> Predictor:
    """Returns a function from a sample to its probabilities, H x W."""
    return lambda sample: segmenter.probabilities(sample.pixels)[0]


def evaluate_predictions(
    predict: Predictor,
    stored_threshold: float,
    samples: list[Sample],
    measures: Measures,
    seen: Observer = lambda *_: None,
    effort: Effort = FULL,
    cache: PredictionCache | None = None,
) -> Evaluation:
    """Scores predictions of one class, wherever they come from.

    Args:
        predict: Returns the probabilities of a sample, H x W.
        stored_threshold: The threshold in the weights file; scored as well as the best one.
        samples: Labelled images, at least one.
        measures: Which scores to compute.
        seen: Called once with each sample and its probabilities.
        effort: How many images and thresholds the scores of objects and lines are computed for.
        cache: Predictions that are known already.
    """
    cache = cache or PredictionCache()
    thresholds = sorted({*FINE, *THRESHOLDS, stored_threshold})
    images, broken = {}, []
    for sample in samples:
        probabilities = cache.get(predict, sample)
        if not np.isfinite(probabilities).all():
            broken.append(sample.name)
        numbers, label = np.nan_to_num(probabilities), foreground_of(sample)
        counts = PixelCounts.of(numbers, label, sample.counted, thresholds)
        images[sample.name] = ImageScores(counts, cross_entropy(numbers, label, sample.counted))
        seen(sample, numbers)

    def add_structures(chosen: list[Sample], at: Iterable[float], which: Measures) -> None:
        for sample in chosen:
            numbers = np.nan_to_num(cache.get(predict, sample))
            for threshold in at:
                scores = measure_structure(numbers, threshold, sample, which, is_quick=effort.quick)
                images[sample.name].structures[threshold] = scores

    if measures.objective == "dice":
        plateau = _plateau(list(images.values()), FINE, measures.objective)
    else:
        tried, grid = effort.thresholds(measures.objective), spread(samples, effort.grid_pixels(measures.objective))
        add_structures(grid, tried, measures.of_objective)
        plateau = _plateau([images[sample.name] for sample in grid], tried, measures.objective)
    wanted = {plateau.middle} if effort.quick else {plateau.middle, stored_threshold}
    add_structures(spread(samples, effort.pixels), wanted, measures)
    return Evaluation(measures, images, plateau, _constant_score(samples, images, measures.objective), tuple(broken))


def _plateau(images: Sequence[ImageScores], thresholds: Sequence[float], objective: Objective) -> Plateau:
    tallies = [objective_tally(objective, images, threshold) for threshold in thresholds]
    tally = Tally(np.stack([t.numerators for t in tallies]), np.stack([t.denominators for t in tallies]))
    counts = [image.counts for image in images]
    places = [counts[0].thresholds.index(threshold) for threshold in thresholds]
    return find_plateau(thresholds, tally, find_degenerate(counts)[places])


def _constant_score(samples: list[Sample], images: dict[str, ImageScores], objective: Objective) -> float:
    """The objective's score of a mask that is all foreground; of objects half the Dice: none of them is found."""
    if objective == "v_rand":
        return v_rand_of_one_segment([labelled_objects(sample) for sample in samples])
    total = reduce(add, (image.counts for image in images.values()))
    if not total.foreground:
        return math.nan
    dice = 2 * total.foreground / (total.pixels + total.foreground)
    return dice if objective == "dice" else dice / 2


def evaluate_classes(segmenter: Segmenter, samples: list[Sample], seen: Observer = lambda *_: None) -> ClassEvaluation:
    """Scores a net of several classes; `seen` gets each sample with the class indices found, H x W uint8."""
    images, broken, loss = {}, [], 0.0
    for sample in samples:
        task = ClassTask(segmenter.task(sample.pixels), sample.label)
        for tile in task.tiles:
            segmenter.run([(task, tile)])
        if not task.is_finite:
            broken.append(sample.name)
        loss += task.loss
        images[sample.name] = Confusion.of(task.found, sample.label, segmenter.description.architecture.classes)
        seen(sample, task.found)
    pixels = int(sum(confusion.pixels.sum() for confusion in images.values()))
    return ClassEvaluation(images, loss / pixels if pixels else math.nan, tuple(broken))


class ClassTask:
    """An image whose probabilities of K classes are scored tile by tile, since K x H x W may be too much to hold.

    Attributes:
        found: H x W class indices.
        loss: Sum of the cross-entropy over the pixels that the label names a class of.
        is_finite: False if a probability was not a number.
    """

    def __init__(self, task: ImageTask, label: ClassMap) -> None:
        self.tiles = task.tiles
        self.found: ClassMap = np.zeros(label.shape, np.uint8)
        self.loss, self.is_finite = 0.0, True
        self._task, self._label = task, label

    def cut(self, tile: Tile) -> TileInput:
        """Returns what to compute."""
        return self._task.cut(tile)

    def paste(self, tile: Tile, finished: Array) -> None:
        """Takes the probabilities of a tile's core, K x h x w."""
        place = np.s_[tile.rows.low : tile.rows.high, tile.columns.low : tile.columns.high]
        self.found[place] = to_mask(finished, 0.5)
        self.is_finite &= bool(np.isfinite(finished).all())
        label = self._label[place]
        counted = label < len(finished)
        rows, columns = np.nonzero(counted)
        right = np.nan_to_num(finished[label[counted], rows, columns])
        self.loss -= float(np.log(np.maximum(right, SMALLEST)).sum(dtype=np.float64))


def picture(sample: Sample, found: NDArray[Any], classes: int) -> Picture:
    """Draws image (stretched to full contrast), label and what was found side by side.

    Args:
        sample: The image and its label; ignored pixels are drawn in grey.
        found: H x W, probabilities of one class or class indices.
        classes: Number of classes of the net.

    Returns:
        H x 3W uint8.
    """
    pixels = sample.pixels
    grey = pixels.astype(np.float64) if pixels.ndim == 2 else pixels[:, :, :3].mean(axis=2)
    grey = (grey - grey.min()) * (255 / max(grey.max() - grey.min(), 1))
    white = 255.0 / max(1, classes - 1)
    label = np.where(sample.counted, sample.label * white, 128)
    return np.hstack([grey, label, found * white]).astype(np.uint8)
