import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from training import seed_threshold
from training.data import Sample
from training.scoring.objects import Matches
from training.seed_threshold import choose_seed_threshold


def _two_discs(dip: float) -> tuple[NDArray[np.float32], Sample]:
    """Two discs that touch: probability 0.97, `dip` where they touch; and the sample that tells them apart."""
    ids = np.zeros((40, 60), np.int32)
    cv2.circle(ids, (20, 20), 10, 1, -1)
    cv2.circle(ids, (40, 20), 10, 2, -1)
    probabilities = np.where(ids > 0, 0.97, 0.05).astype(np.float32)
    probabilities[:, 28:33][ids[:, 28:33] > 0] = dip
    return probabilities, Sample("discs", np.zeros(ids.shape, np.uint8), (ids > 0).view(np.uint8), ids=ids)


def test_seed_threshold_lies_above_the_dips_between_objects():
    pairs = [_two_discs(0.55), _two_discs(0.65)]
    probabilities, samples = zip(*pairs, strict=True)
    assert choose_seed_threshold(probabilities, samples, 0.45) in (0.8, 0.9, 0.95)


def test_regions_stay_whole_if_splitting_does_not_help():
    probabilities, sample = _two_discs(0.55)
    one = Sample("one", sample.pixels, sample.label, ids=sample.label.astype(np.int32))
    assert choose_seed_threshold([probabilities], [one], 0.45) == 0.45


def test_plateau_wins_over_a_peak(monkeypatch: pytest.MonkeyPatch):
    percent = {0.45: 50, 0.5: 90, 0.6: 50, 0.7: 80, 0.8: 80, 0.9: 80, 0.95: 80}

    def match(*arguments: object) -> Matches:
        return Matches(100, 100, (percent[arguments[-1]],) * 5)  # type: ignore[index]

    monkeypatch.setattr(seed_threshold, "_match", match)
    probabilities, sample = _two_discs(0.55)
    assert choose_seed_threshold([probabilities], [sample], 0.45) in (0.8, 0.9)


@pytest.mark.parametrize("threshold", [0.94, 0.96])
def test_high_threshold_leaves_few_candidates(threshold: float):
    probabilities, sample = _two_discs(0.55)
    assert choose_seed_threshold([probabilities], [sample], threshold) == threshold


def test_images_without_objects_split_nothing():
    empty = np.zeros((9, 9), np.uint8)
    sample = Sample("empty", empty, empty, ids=empty.astype(np.int32))
    assert choose_seed_threshold([np.zeros((9, 9), np.float32)], [sample], 0.5) == 0.5
