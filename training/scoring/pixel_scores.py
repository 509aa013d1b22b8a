"""Scores of pixels at every threshold at once, from one histogram of the probabilities.

Shape letters: T thresholds, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]
Label = NDArray[np.bool_]
Counts = NDArray[np.int64]

# Thresholds that weights may get.
FINE = tuple(hundredth / 100 for hundredth in range(1, 100))

# The lowest probability whose logarithm counts: a single wrong pixel must not make the loss infinite.
SMALLEST = 1e-6


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """Numbers of pixels of one image or several at T thresholds; ignored pixels are not among them.

    Attributes:
        thresholds: Increasing, T.
        hits: T, foreground of the label that is found at each threshold.
        false_alarms: T, background of the label that is taken for foreground.
        foreground: Foreground of the label.
        background: Background of the label.
    """

    thresholds: tuple[float, ...]
    hits: Counts
    false_alarms: Counts
    foreground: int
    background: int

    @classmethod
    def of(
        cls, probabilities: Probabilities, label: Label, counted: Label, thresholds: Sequence[float]
    ) -> "PixelCounts":
        """Counts one image: probabilities H x W, label and counted H x W bool, thresholds increasing.

        A pixel is found if its probability is at least the threshold, in float32 as in the service.
        """
        reached = np.searchsorted(np.array(thresholds, np.float32), probabilities[counted], side="right")
        truth = label[counted]
        found = [_at_least(reached[side], len(thresholds)) for side in (truth, ~truth)]
        foreground = int(np.count_nonzero(truth))
        return cls(tuple(thresholds), found[0], found[1], foreground, truth.size - foreground)

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(
            self.thresholds,
            self.hits + other.hits,
            self.false_alarms + other.false_alarms,
            self.foreground + other.foreground,
            self.background + other.background,
        )

    @property
    def found(self) -> Counts:
        """T, pixels that are found at each threshold."""
        return self.hits + self.false_alarms

    @property
    def pixels(self) -> int:
        """All pixels that count."""
        return self.foreground + self.background

    @property
    def is_uniform(self) -> NDArray[np.bool_]:
        """T, True where nothing or everything is found; of one image."""
        return np.asarray((self.found == 0) | (self.found == self.pixels))

    @property
    def wrong(self) -> Counts:
        """T, foreground that is missed and background that is found."""
        return self.foreground - self.hits + self.false_alarms

    def scores(self, threshold: float) -> dict[str, float]:
        """Returns scores at one of the thresholds, 0..1; NaN where a score is undefined."""
        index = self.thresholds.index(threshold)
        hits, false_alarms = int(self.hits[index]), int(self.false_alarms[index])
        found, missed = hits + false_alarms, self.foreground - hits
        return {
            "dice": _ratio(2 * hits, found + self.foreground),
            "iou": _ratio(hits, found + missed),
            "precision": _ratio(hits, found),
            "recall": _ratio(hits, self.foreground),
            "pixel_error": _ratio(false_alarms + missed, self.pixels),
            "foreground": _ratio(found, self.pixels),
        }


def find_degenerate(images: Sequence[PixelCounts]) -> NDArray[np.bool_]:
    """Returns T bool, True where the masks of all images are uniform, all or nothing, and a label is not."""
    uniform = np.all([image.is_uniform for image in images], axis=0)
    return np.asarray(uniform & (np.sum([image.wrong for image in images], axis=0) > 0))


def cross_entropy(probabilities: Probabilities, label: Label, counted: Label) -> float:
    """Returns the sum over the counted pixels of -log of the probability of the labelled side, natural logarithm."""
    right = np.where(label, probabilities, 1 - probabilities)[counted]
    return -float(np.log(np.maximum(right, np.float32(SMALLEST))).sum(dtype=np.float64))


def _at_least(reached: NDArray[np.int64], thresholds: int) -> Counts:
    """Numbers of thresholds that pixels reach -> T, how many pixels reach each of the thresholds."""
    histogram = np.bincount(reached, minlength=thresholds + 1)
    return np.asarray(histogram[::-1].cumsum()[::-1][1:], np.int64)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")
