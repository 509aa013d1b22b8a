"""Scores of class maps: Dice, IoU, precision and recall of each class, and their means.

Shape letters: K classes, H height, W width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.folder import IGNORED

ClassMap = NDArray[np.uint8]
"""H x W, class indices."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """Numbers of pixels by labelled and found class.

    Attributes:
        pixels: K x K; row: labelled class, column: found class. Ignored pixels are not among them.
    """

    pixels: NDArray[np.int64]

    @classmethod
    def of(cls, found: ClassMap, label: ClassMap, classes: int) -> "Confusion":
        """Counts one image: found and label, H x W class indices."""
        counted = label != IGNORED
        pairs = label[counted].astype(np.int64) * classes + found[counted]
        return cls(np.bincount(pairs, minlength=classes**2).reshape(classes, classes))

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.pixels + other.pixels)

    @property
    def labelled(self) -> dict[int, float]:
        """The classes that the label has, each with its share of the pixels."""
        shares = self.pixels.sum(axis=1) / max(1, self.pixels.sum())
        return {index: float(share) for index, share in enumerate(shares) if share}

    @property
    def foreground(self) -> list[int]:
        """Labelled classes except class 0; class 0 if there is no other."""
        return [index for index in self.labelled if index] or [0]

    def dice(self, index: int) -> float:
        """Returns the Dice score of one class; NaN if the class is neither labelled nor found."""
        return _ratio(2 * self.pixels[index, index], self.areas(index))

    def areas(self, index: int) -> int:
        """Returns the labelled and the found pixels of one class, added up."""
        return int(self.pixels[index].sum() + self.pixels[:, index].sum())

    def iou(self, index: int) -> float:
        """Returns the IoU of one class; NaN if the class is neither labelled nor found."""
        dice = self.dice(index)
        return dice / (2 - dice)

    def precision(self, index: int) -> float:
        """Returns the share of a class's found pixels that is right; NaN if the class is not found."""
        return _ratio(self.pixels[index, index], self.pixels[:, index].sum())

    def recall(self, index: int) -> float:
        """Returns the share of a class's labelled pixels that is found; NaN if the class is not labelled."""
        return _ratio(self.pixels[index, index], self.pixels[index].sum())

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the labelled foreground classes."""
        return float(np.mean([self.dice(index) for index in self.foreground]))

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the labelled foreground classes."""
        return float(np.mean([self.iou(index) for index in self.foreground]))

    @property
    def pixel_error(self) -> float:
        """Share of wrong pixels; NaN without any pixel."""
        return 1 - _ratio(self.pixels.trace(), self.pixels.sum())

    def scores(self) -> dict[str, float]:
        """Returns all scores, 0..1: `mean_dice`, `mean_iou`, `pixel_error`, and four of each labelled class.

        Those of class k are `dice_k`, `iou_k`, `precision_k` and `recall_k`.
        """
        scores = {"mean_dice": self.mean_dice, "mean_iou": self.mean_iou, "pixel_error": self.pixel_error}
        for index in self.labelled:
            scores |= {
                f"dice_{index}": self.dice(index),
                f"iou_{index}": self.iou(index),
                f"precision_{index}": self.precision(index),
                f"recall_{index}": self.recall(index),
            }
        return scores


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else float("nan")
