"""Objects in probabilities and labels, and how many of them match.

Shape letters: H height, W width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from model.outputs import objects
from model.outputs.objects import Ids, ObjectRule, find_regions
from training.data.folder import Sample

IOUS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Matches:
    """Numbers of objects, of one image or several.

    Attributes:
        found: Objects in the prediction.
        labelled: Objects in the label.
        matched: Pairs of a found and a labelled object whose IoU is above each of `IOUS`.
    """

    found: int
    labelled: int
    matched: tuple[int, ...]

    def __add__(self, other: "Matches") -> "Matches":
        matched = tuple(mine + others for mine, others in zip(self.matched, other.matched, strict=True))
        return Matches(self.found + other.found, self.labelled + other.labelled, matched)

    @property
    def f1(self) -> tuple[float, ...]:
        """F1 scores at each of `IOUS`; NaN if there is no object at all."""
        total = self.found + self.labelled
        return tuple(2 * matched / total if total else float("nan") for matched in self.matched)


def find_objects(probabilities: NDArray[np.float32], threshold: float, rule: ObjectRule) -> Ids:
    """Finds objects as the service does.

    Args:
        probabilities: H x W, 0..1.
        threshold: Lowest probability of the foreground.
        rule: How the mask becomes objects.

    Returns:
        H x W object ids, 0 is background.
    """
    mask = (probabilities >= np.float32(threshold)).view(np.uint8)
    return objects.find_objects(objects.with_levels(mask, probabilities, rule), rule)


def labelled_objects(sample: Sample) -> Ids:
    """Returns H x W object ids of the label: its own ids, else the 4-connected regions of its foreground."""
    return find_regions(sample.foreground.view(np.uint8)) if sample.ids is None else sample.ids


def foreground_of(sample: Sample) -> NDArray[np.bool_]:
    """Returns the foreground that a mask should have, H x W bool: all objects, if the label numbers them.

    `Sample.label` then lacks the borders between objects that touch.
    """
    return sample.foreground if sample.ids is None else np.asarray((sample.ids > 0) & sample.counted)


def match_objects(found: Ids, labelled: Ids, counted: NDArray[np.bool_]) -> Matches:
    """Counts matching pairs of objects.

    A pair matches if its intersection over union is above the limit. Limits of 0.5 and more make pairs unique.

    Args:
        found: H x W object ids of the prediction, 0 is background.
        labelled: H x W object ids of the label, 0 is background.
        counted: H x W, False where the label says nothing; those pixels belong to no object.
    """
    columns, rows = (_numbered(np.where(counted, ids, 0)) for ids in (found, labelled))
    found_areas, labelled_areas = np.bincount(columns.ravel()), np.bincount(rows.ravel())
    both = (columns > 0) & (rows > 0)
    ones = np.ones(np.count_nonzero(both), np.int64)
    # the conversion to rows adds up the pixels of each pair
    shape = len(labelled_areas), len(found_areas)
    overlaps = coo_array((ones, (rows[both], columns[both])), shape=shape).tocsr().tocoo()
    unions = labelled_areas[overlaps.row] + found_areas[overlaps.col] - overlaps.data
    ious = overlaps.data / unions
    matched = tuple(int(np.count_nonzero(ious > limit)) for limit in IOUS)
    return Matches(len(found_areas) - 1, len(labelled_areas) - 1, matched)


def _numbered(ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Renumbers ids H x W without gaps; 0 stays 0."""
    present = np.zeros(int(ids.max(initial=0)) + 1, np.int32)
    present[ids.ravel()] = 1
    present[0] = 0
    numbers: NDArray[np.int32] = np.cumsum(present, dtype=np.int32)[ids]
    numbers[ids == 0] = 0
    return numbers
