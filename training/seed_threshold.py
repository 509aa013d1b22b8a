"""The seed threshold of a weights file: the probability from which a pixel belongs to a seed of an object."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.outputs.objects import Ids, find_objects, render_objects
from model.weights_file import Description

CANDIDATES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

# The seed threshold of weights without held-out images to choose a better one.
DEFAULT = 0.8

Measure: TypeAlias = Callable[[Sequence[Ids], Sequence[Ids]], float]
"""Found ids and labelled ids of all images -> a score; higher is better."""


def choose_seed_threshold(
    probabilities: Sequence[NDArray[np.float32]], labelled: Sequence[Ids], description: Description, measure: Measure
) -> float:
    """Choose the seed threshold whose objects match the labelled objects best.

    A candidate's score is averaged with those of its neighbours, so that a plateau wins over a peak. The lowest
    candidate is the mask's own threshold: no region is split. It also wins ties.

    Args:
        probabilities: The held-out images' foreground probabilities, H x W each.
        labelled: Their labelled object ids, H x W each.
        description: A description with the threshold to use; its kind of objects is ignored.
        measure: The score to maximise, such as the F1 of objects.
    """
    candidates = [description.threshold, *(each for each in CANDIDATES if each > description.threshold)]
    rendered = [render_objects(each[None], description.threshold, "seeds") for each in probabilities]
    scores = []
    for candidate in candidates:
        seeds = description.model_copy(update={"objects": "seeds", "seed_threshold": candidate})
        scores.append(measure([find_objects(each, seeds) for each in rendered], labelled))
    return candidates[int(np.argmax(_smoothed(scores)))]


def _smoothed(scores: Sequence[float]) -> NDArray[np.float64]:
    """Average each score with its neighbours; the ends have one neighbour."""
    window = np.ones(min(3, len(scores)))
    total, count = (np.convolve(values, window, mode="same") for values in (scores, np.ones(len(scores))))
    averages: NDArray[np.float64] = total / count
    return averages
