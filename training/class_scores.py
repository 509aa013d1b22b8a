"""Scores of class maps: Dice and IoU of each class, and what they come to.

Shape letters: K classes, H height, W width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ClassMap = NDArray[np.uint8]
"""H x W, class indices."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """`pixels`, K x K: so many labelled as one class (row) were found to be of another (column); they add up."""

    pixels: NDArray[np.int64]

    @classmethod
    def of(cls, found: ClassMap, label: ClassMap, classes: int) -> "Confusion":
        """Of one image."""
        pairs = label.astype(np.int64) * classes + found
        return cls(np.bincount(pairs.ravel(), minlength=classes**2).reshape(classes, classes))

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.pixels + other.pixels)

    @property
    def labelled(self) -> dict[int, float]:
        """The classes that the label has, each with its share of the pixels."""
        shares = self.pixels.sum(axis=1) / self.pixels.sum()
        return {index: float(share) for index, share in enumerate(shares) if share}

    def dice(self, index: int) -> float:
        """Of one class; nan if it is neither labelled nor found."""
        both, all_in_all = self.pixels[index, index], self.pixels[index].sum() + self.pixels[:, index].sum()
        return float(2 * both / all_in_all) if all_in_all else float("nan")

    def iou(self, index: int) -> float:
        """Of one class; nan if it is neither labelled nor found."""
        dice = self.dice(index)
        return dice / (2 - dice)

    @property
    def mean_dice(self) -> float:
        """Of the classes that are labelled, without the background, class 0, unless there is nothing else."""
        foreground = [index for index in self.labelled if index] or [0]
        return float(np.mean([self.dice(index) for index in foreground]))

    @property
    def pixel_error(self) -> float:
        """The share of wrong pixels."""
        return 1 - float(self.pixels.trace() / self.pixels.sum())

    def scores(self) -> dict[str, float]:
        """All of them, 0..1: `mean_dice`, `pixel_error`, and of each class k that is labelled `dice_k` and `iou_k`."""
        scores = {"mean_dice": self.mean_dice, "pixel_error": self.pixel_error}
        for index in self.labelled:
            scores |= {f"dice_{index}": self.dice(index), f"iou_{index}": self.iou(index)}
        return scores
