"""Predicts labelled images and scores the predictions.

The predictions come from the same `Segmenter` as the service's, so the scores are those of what the service returns.
Shape letters: K classes, H height, W width, N images, T thresholds.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.engines.engine import Array
from model.segmenter import ImageTask, Segmenter, TileInput, to_mask
from model.tiles import Tile
from training.data.folder import Sample
from training.scoring.class_evaluation import AnyEvaluation, ClassEvaluation
from training.scoring.class_scores import ClassMap, Confusion
from training.scoring.evaluation import Evaluation, ImageScores, objective_tally
from training.scoring.measures import (
    FULL,
    Effort,
    Measures,
    measure_structure,
    spread,
)
from training.scoring.object_scores import foreground_of, labelled_objects
from training.scoring.objective import Objective
from training.scoring.pixel_scores import FINE, SMALLEST, PixelCounts, Probabilities, cross_entropy, find_degenerate
from training.scoring.rand import THRESHOLDS, v_rand_of_one_segment
from training.scoring.tally import Plateau, Tally, find_plateau

Picture = NDArray[np.uint8]


Predictor = Callable[[Sample], Probabilities]


Observer = Callable[[Sample, NDArray[Any]], None]


# Pixels of predictions that are kept between two passes over the images: 4 bytes each.
CACHED_PIXELS = 32e6


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
    return lambda sample: segmenter.probabilities(sample.pixels, sample.bits)[0]


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
    wanted = {plateau.threshold} if effort.quick else {plateau.threshold, stored_threshold}
    add_structures(spread(samples, effort.pixels), wanted, measures)
    return Evaluation(measures, images, plateau, _constant_score(samples, images, measures.objective), tuple(broken))


def _plateau(images: Sequence[ImageScores], thresholds: Sequence[float], objective: Objective) -> Plateau:
    tallies = [objective_tally(objective, images, threshold) for threshold in thresholds]
    tally = Tally(np.stack([t.numerators for t in tallies]), np.stack([t.denominators for t in tallies]))
    counts = [image.counts for image in images]
    places = [counts[0].thresholds.index(threshold) for threshold in thresholds]
    # V_rand's best threshold depends on how the borders of the label were drawn
    prior = None if objective == "v_rand" else 0.5
    return find_plateau(thresholds, tally, find_degenerate(counts)[places], prior)


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
        task = ClassTask(segmenter.task(sample.pixels, bits=sample.bits), sample.label)
        for tile in task.tiles:
            segmenter.compute_batch([(task, tile)])
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
