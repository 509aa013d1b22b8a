"""Scores as sums over images, the error of a difference between two of them, and plateaus of thresholds.

Shape letters: T thresholds, N images, K parts of a score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Two scores closer than this are equal. Scores that differ by one standard error are equal too, but no standard error
# above the second value counts: with a few images that differ widely any score would equal any other.
NEAR_TIE, LARGEST_ERROR = 0.005, 0.02


@dataclass(frozen=True, eq=False)
class Tally:
    """A score that is the mean of K parts, each a ratio of sums over images.

    Pooled Dice is one part. A mean over images is one part whose denominators are 1. Images that a part does not
    count have a denominator of 0.

    Attributes:
        numerators: (T x) N x K.
        denominators: (T x) N x K.
    """

    numerators: Floats
    denominators: Floats

    @property
    def value(self) -> Floats:
        """(T,) or () float64; NaN where a part has no denominator."""
        return np.asarray(self._ratios.mean(axis=-1))

    @property
    def per_image(self) -> Floats:
        """(T x) N: the score of each image on its own; NaN where a part does not count it."""
        return np.asarray(_divided(self.numerators, self.denominators).mean(axis=-1))

    def at(self, index: int) -> "Tally":
        """Returns the tally at one threshold."""
        return Tally(self.numerators[index], self.denominators[index])

    def error_of_difference(self, other: "Tally") -> Floats:
        """Returns the standard error of the difference of two scores of the same images, 0 for fewer than two images.

        Linearised (the infinitesimal jackknife), so that it costs no resampling.
        """
        images = self.numerators.shape[-2]
        if images < 2:
            return np.zeros(np.broadcast_shapes(self.value.shape, other.value.shape))
        difference = self._influence - other._influence
        return np.asarray(np.sqrt(images / (images - 1) * np.square(difference).sum(axis=-1)))

    def margin(self, other: "Tally") -> Floats:
        """Returns how far two scores may lie apart and still be equal."""
        return np.asarray(np.clip(np.nan_to_num(self.error_of_difference(other)), NEAR_TIE, LARGEST_ERROR))

    @property
    def _ratios(self) -> Floats:
        return _divided(self.numerators.sum(axis=-2), self.denominators.sum(axis=-2))

    @property
    def _influence(self) -> Floats:
        """(T x) N: what each image adds to the score, to first order."""
        residuals = self.numerators - self._ratios[..., None, :] * self.denominators
        return np.asarray(_divided(residuals, self.denominators.sum(axis=-2)[..., None, :]).mean(axis=-1))


def _divided(numerators: Floats, denominators: Floats) -> Floats:
    """NaN instead of a warning where the denominator is 0."""
    undefined = np.full(numerators.shape, np.nan)
    return np.asarray(np.divide(numerators, denominators, out=undefined, where=denominators != 0))


@dataclass(frozen=True)
class Plateau:
    """Thresholds from `low` to `high` that score equally well.

    `prior`: the threshold that is expected without any image; None if no threshold is more likely than another.
    """

    low: float
    high: float
    prior: float | None = None

    @property
    def threshold(self) -> float:
        """The threshold to use, rounded to two digits after the point.

        Without a prior, this is the middle. With a prior, it is halfway from the middle to the point of the plateau
        that is nearest to the prior. Few images leave a wide plateau, and its middle depends on chance.
        """
        middle = (self.low + self.high) / 2
        nearest = middle if self.prior is None else min(max(self.prior, self.low), self.high)
        return round((middle + nearest) / 2, 2)


def find_plateau(
    thresholds: Sequence[float], tally: Tally, degenerate: NDArray[np.bool_], prior: float | None = None
) -> Plateau:
    """Finds the thresholds around the best one that are as good as it is.

    Args:
        thresholds: Increasing, T.
        tally: T x N x K.
        degenerate: T, True where nothing or everything is found; such a threshold is the last choice.
        prior: See `Plateau`.

    Returns:
        The plateau of the best threshold; all thresholds if no score is defined.
    """
    scores = np.where(degenerate, -1.0, np.nan_to_num(tally.value, nan=0.0))
    # Of equal thresholds, the one nearest to 0.5 begins the plateau.
    best = min(range(len(thresholds)), key=lambda index: (-scores[index], abs(thresholds[index] - 0.5)))
    equal = scores >= scores[best] - tally.margin(tally.at(best))
    equal &= degenerate == degenerate[best]
    low = high = best
    while low > 0 and equal[low - 1]:
        low -= 1
    while high < len(thresholds) - 1 and equal[high + 1]:
        high += 1
    return Plateau(thresholds[low], thresholds[high], prior)
