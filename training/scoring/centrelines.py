"""clDice: how well thin structures are followed, whatever their width (Shit et al. 2021)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize


@dataclass(frozen=True)
class Centrelines:
    """Numbers of centreline pixels, of one image or several.

    Attributes:
        found: Centreline pixels of the found foreground.
        found_right: Those of them that are in the label's foreground.
        labelled: Centreline pixels of the label.
        labelled_found: Those of them that are in the found foreground.
    """

    found: int
    found_right: int
    labelled: int
    labelled_found: int

    @classmethod
    def of(cls, found: NDArray[np.bool_], label: NDArray[np.bool_]) -> "Centrelines":
        """Counts one image: found and label, H x W bool."""
        lines = [skeletonize(side) for side in (found, label)]
        counts = [np.count_nonzero(pixels) for pixels in (lines[0], lines[0] & label, lines[1], lines[1] & found)]
        return cls(*map(int, counts))

    def __add__(self, other: "Centrelines") -> "Centrelines":
        return Centrelines(
            self.found + other.found,
            self.found_right + other.found_right,
            self.labelled + other.labelled,
            self.labelled_found + other.labelled_found,
        )

    @property
    def cl_dice(self) -> float:
        """Harmonic mean of the share of found lines that is right and the share of labelled lines that is found."""
        if not self.labelled:
            return float("nan")
        if not self.found_right or not self.labelled_found:
            return 0.0
        precision, sensitivity = self.found_right / self.found, self.labelled_found / self.labelled
        return 2 * precision * sensitivity / (precision + sensitivity)
