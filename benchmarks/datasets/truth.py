"""Labels as the benchmark understands them, the same for every trainer.

Shape letters: H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.sets import ImageSet, Pair
from model.images.decoding import decode_image
from model.inputs.preprocessing import Values
from training.data.folder import IGNORED

Kind = Literal["mask", "membranes", "instances", "classes"]


@dataclass(frozen=True, eq=False)
class Truth:
    """The label of one image.

    Attributes:
        name: The image's name without suffix.
        label: H x W class indices, uint8; `IGNORED` where the label says nothing.
        ids: H x W object ids, int32, 0 is background; None if the labels do not tell objects apart.
    """

    name: str
    label: NDArray[np.uint8]
    ids: NDArray[np.int32] | None = None

    @property
    def counted(self) -> NDArray[np.bool_]:
        """H x W bool, True where the label says what the pixel is."""
        counted: NDArray[np.bool_] = self.label != IGNORED
        return counted


@dataclass(frozen=True)
class Task:
    """The task that a set's labels pose. `classes`: number of classes, including the background and a void class."""

    kind: Kind
    classes: int


def task_of(images: ImageSet) -> Task:
    """Recognises the task from all labels of a set.

    Two values are a mask, 16 bits are object ids, and anything else is class indices.
    """
    values, deep = set[int](), False
    for pair in (*images.training, *images.test):
        stored = read_label(pair)
        values |= set(np.unique(stored).tolist())
        deep |= stored.dtype == np.uint16
    if deep and len(values) > 2:
        return Task("instances", 2)
    if len(values) <= 2:
        return Task("membranes" if images.known.membranes else "mask", 2)
    return Task("classes", max(values) + 1)


def read_truths(images: ImageSet, pairs: Sequence[Pair], task: Task) -> list[Truth]:
    """The labels of some pairs of a set."""
    return [_truth(pair.name, read_label(pair), images, task) for pair in pairs]


def read_label(pair: Pair) -> Values:
    """The stored label, H x W, uint8 or uint16."""
    stored = decode_image(pair.label.read_bytes())
    return stored if stored.ndim == 2 else stored[:, :, 0]


def _truth(name: str, stored: Values, images: ImageSet, task: Task) -> Truth:
    if task.kind == "instances":
        return Truth(name, (stored > 0).astype(np.uint8), stored.astype(np.int32))
    if task.kind == "classes":
        label = stored.astype(np.uint8)
        return Truth(name, label if images.known.void is None else np.where(label == images.known.void, IGNORED, label))
    return Truth(name, (stored > 0).astype(np.uint8))
