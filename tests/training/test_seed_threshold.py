from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.outputs.objects import Ids
from model.preprocessing import Preprocessing
from model.unet import UNetConfig
from model.weights_file import Description
from training.seed_threshold import choose_seed_threshold


def _pair_of_discs(dip: float) -> tuple[NDArray[np.float32], Ids]:
    """Two discs that touch: probability 0.97, `dip` along the line where they touch; and their ids."""
    ids = np.zeros((40, 60), np.int32)
    cv2.circle(ids, (20, 20), 10, 1, -1)
    cv2.circle(ids, (40, 20), 10, 2, -1)
    probabilities = np.where(ids > 0, 0.97, 0.05).astype(np.float32)
    probabilities[:, 28:33][ids[:, 28:33] > 0] = dip
    return probabilities, ids


def _number_of_objects(found: Sequence[Ids], labelled: Sequence[Ids]) -> float:
    return -float(sum(abs(int(each.max()) - int(truth.max())) for each, truth in zip(found, labelled, strict=True)))


@pytest.fixture
def description() -> Description:
    return Description(name="a-net", architecture=UNetConfig(width=4), preprocessing=Preprocessing(), threshold=0.45)


def test_seed_threshold_lies_above_the_dips_between_objects(description: Description):
    pairs = [_pair_of_discs(0.55), _pair_of_discs(0.65)]
    probabilities, labelled = zip(*pairs, strict=True)
    assert choose_seed_threshold(probabilities, labelled, description, _number_of_objects) in (0.8, 0.9, 0.95)


def test_regions_stay_whole_if_splitting_does_not_help(description: Description):
    probabilities, ids = _pair_of_discs(0.55)
    one = (ids > 0).astype(np.int32)
    assert choose_seed_threshold([probabilities], [one], description, _number_of_objects) == 0.45


def test_plateau_wins_over_a_peak(description: Description):
    probabilities, ids = _pair_of_discs(0.55)
    scores = iter([0.5, 0.9, 0.5, 0.8, 0.8, 0.8, 0.8])
    chosen = choose_seed_threshold([probabilities], [ids], description, lambda *_: next(scores))
    assert chosen in (0.8, 0.9, 0.95)


@pytest.mark.parametrize("threshold", [0.94, 0.96])
def test_high_threshold_leaves_few_candidates(description: Description, threshold: float):
    probabilities, ids = _pair_of_discs(0.55)
    high = description.model_copy(update={"threshold": threshold})
    assert choose_seed_threshold([probabilities], [ids], high, _number_of_objects) == threshold
