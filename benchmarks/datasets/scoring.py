"""Scores of masks, computed in the same way for every trainer.

All scores are in 0..1 and the higher the better.
Pooled scores take all test images as one, so that an image with an empty or tiny label does not decide.

Shape letters: H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.truth import Kind, Task, Truth
from model.outputs.objects import find_regions
from training.scoring.class_scores import Confusion
from training.scoring.rand import THRESHOLDS, rand_and_information, segments

OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(9))
"""IoUs from which on a found object counts as a labelled one: 0.5, 0.55 ... 0.9."""

_FINE_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))

HEADLINE: dict[Kind, str] = {"mask": "dice", "membranes": "v_rand", "instances": "f1", "classes": "iou"}
"""The score that a set is judged by."""


@dataclass(frozen=True, eq=False)
class Found:
    """The result of a trainer's net for one image.

    Attributes:
        mask: H x W class indices, uint8; 1 is the foreground of a single class.
        probabilities: H x W, float32 in 0..1, of the foreground; None for several classes.
        ids: H x W object ids, int32, 0 is background; None if the set has no objects.
    """

    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32] | None = None
    ids: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Reachable:
    """The best score that the same probabilities give at any threshold, chosen on the test images.

    Attributes:
        score: Name of the score: "dice" or "v_rand".
        best: The score at the best threshold.
        threshold: The best threshold.
        ratio: The score at the trainer's own threshold divided by `best`.
    """

    score: str
    best: float
    threshold: float
    ratio: float


def all_scores(task: Task, truths: Sequence[Truth], found: Sequence[Found], threshold: float) -> dict[str, float]:
    """The scores that suit the task.

    Args:
        task: The task that the labels set.
        truths: The labels of the test images.
        found: The results for the same images.
        threshold: The probability from which on the trainer takes a pixel for foreground.

    Returns:
        `dice` (pooled; the mean over the labelled classes if there are several), `dice_per_image`, and `v_rand` of
        membranes, `f1` (at IoU 0.5) and `mean_f1` (over `OVERLAPS`) of instances, `iou` of classes.
    """
    confusions = [_confusion(truth, result.mask, task.classes) for truth, result in zip(truths, found, strict=True)]
    total = sum(confusions[1:], start=confusions[0])
    per_image = [_dice(task, each) for each in confusions if each.pixels.any()]
    scores = {"dice": _dice(task, total), "dice_per_image": _mean(per_image)}
    if task.kind == "classes":
        scores["iou"] = _mean([total.iou(index) for index in total.labelled])
    if task.kind == "membranes":
        scores["v_rand"] = _v_rand(truths, found, threshold)
    if task.kind == "instances":
        scores |= object_scores(truths, found)
    return scores


def reachable(
    task: Task, truths: Sequence[Truth], found: Sequence[Found], scores: dict[str, float]
) -> Reachable | None:
    """Finds the best threshold by Dice or V_rand; returns None for several classes, which have no threshold."""
    if task.kind == "classes":
        return None
    if task.kind == "membranes":
        name, by_threshold = "v_rand", {at: _v_rand(truths, found, at) for at in THRESHOLDS}
    else:
        name, by_threshold = "dice", {at: _dice_at(task, truths, found, at) for at in _FINE_THRESHOLDS}
    threshold = max(by_threshold, key=lambda at: by_threshold[at])
    best = max(by_threshold[threshold], scores[name])
    return Reachable(name, best, threshold, scores[name] / best if best else 1.0)


def object_scores(truths: Sequence[Truth], found: Sequence[Found]) -> dict[str, float]:
    """`f1` at IoU 0.5 and `mean_f1` over `OVERLAPS`, of the objects of all images together."""
    overlaps, labelled, proposed = list[NDArray[np.float64]](), 0, 0
    for truth, result in zip(truths, found, strict=True):
        if truth.ids is None or result.ids is None:
            raise ValueError(f"{truth.name}: no object ids to score")
        iou = intersections_over_unions(truth.ids, result.ids)
        labelled, proposed = labelled + iou.shape[0], proposed + iou.shape[1]
        overlaps.append(iou.max(axis=1, initial=0.0))
    best = np.concatenate(overlaps)
    # above an IoU of 0.5 no two found objects can match one labelled object, so no assignment is needed
    f1 = [2 * float(np.count_nonzero(best > at)) / max(1, labelled + proposed) for at in OVERLAPS]
    return {"f1": f1[0], "mean_f1": _mean(f1)}


def intersections_over_unions(ids: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[np.float64]:
    """IoU of each labelled object (row) with each found object (column); 0 in the ids is background."""
    (_, rows), (_, columns) = (np.unique(each, return_inverse=True) for each in (_zero_first(ids), _zero_first(found)))
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    both = np.bincount(rows.ravel() * shape[1] + columns.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    # the pixel that `_zero_first` added is in the background of both
    either = both.sum(axis=1, keepdims=True) + both.sum(axis=0, keepdims=True) - both
    iou: NDArray[np.float64] = (both / either)[1:, 1:]
    return iou


def _zero_first(ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """The ids as a line, after a 0: so that 0 is always the first of the unique ids."""
    return np.concatenate([np.zeros(1, ids.dtype), ids.ravel()])


def _confusion(truth: Truth, mask: NDArray[np.uint8], classes: int) -> Confusion:
    return Confusion.of(mask[truth.counted], truth.label[truth.counted], classes)


def _dice(task: Task, confusion: Confusion) -> float:
    """Dice of the foreground (1 if there is none and none was found), or the mean over the labelled classes."""
    if task.kind == "classes":
        return _mean([confusion.dice(index) for index in confusion.labelled])
    dice = confusion.dice(1)
    return 1.0 if np.isnan(dice) else dice


def _dice_at(task: Task, truths: Sequence[Truth], found: Sequence[Found], threshold: float) -> float:
    masks = [(_probabilities(result) >= threshold).astype(np.uint8) for result in found]
    confusions = [_confusion(truth, mask, task.classes) for truth, mask in zip(truths, masks, strict=True)]
    return _dice(task, sum(confusions[1:], start=confusions[0]))


def _v_rand(truths: Sequence[Truth], found: Sequence[Found], threshold: float) -> float:
    """Mean V_rand over the images at one threshold."""
    scores = []
    for truth, result in zip(truths, found, strict=True):
        labelled = find_regions((truth.label == 1).view(np.uint8))
        scores.append(rand_and_information(segments(_probabilities(result), threshold), labelled)[0])
    return _mean([score for score in scores if not np.isnan(score)])


def _probabilities(found: Found) -> NDArray[np.float32]:
    if found.probabilities is None:
        raise ValueError("no probabilities to score")
    return found.probabilities


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
