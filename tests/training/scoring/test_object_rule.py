import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.outputs.objects import ObjectRule
from training.data.folder import Sample
from training.scoring import object_rule
from training.scoring.object_rule import CANDIDATES, candidate_areas, choose_object_rule, smallest_area
from training.scoring.object_scores import Matches

SEEDS = ObjectRule("seeds", 0.75, min_area=5)


def _two_discs() -> tuple[NDArray[np.float32], Sample]:
    """Two discs that overlap a little; the probabilities do not tell them apart, the ids do."""
    ids = np.zeros((40, 60), np.int32)
    cv2.circle(ids, (20, 20), 11, 1, -1)
    cv2.circle(ids, (40, 20), 11, 2, -1)
    probabilities = np.where(ids > 0, 0.97, 0.05).astype(np.float32)
    return probabilities, Sample("discs", np.zeros(ids.shape, np.uint8), (ids > 0).view(np.uint8), ids=ids)


def test_seed_depth_splits_discs_that_touch():
    probabilities, sample = _two_discs()
    chosen = choose_object_rule(SEEDS, [probabilities], [sample], 0.45)
    assert chosen.seed_depth is not None
    assert chosen.seed_depth < 8
    assert chosen == ObjectRule("seeds", chosen.seed_depth, min_area=5)


def test_specks_are_dropped_if_objects_are_larger():
    probabilities, sample = _two_discs()
    areas = candidate_areas([sample])
    assert choose_object_rule(SEEDS, [probabilities], [sample], 0.45, areas).min_area == 5  # no object is smaller
    probabilities[2:8, 2:8] = 0.9
    assert choose_object_rule(SEEDS, [probabilities], [sample], 0.45, areas).min_area > 36


def test_regions_stay_whole_if_splitting_does_not_help():
    probabilities, sample = _two_discs()
    one = Sample("one", sample.pixels, sample.label, ids=sample.label.astype(np.int32))
    assert choose_object_rule(SEEDS, [probabilities], [one], 0.45).seed_depth == CANDIDATES[-1]


def test_plateau_wins_over_a_peak(monkeypatch: pytest.MonkeyPatch):
    percent = dict(zip(CANDIDATES, (80, 80, 80, 50, 90, 50, 50, 50), strict=True))

    def match(_probabilities: object, _sample: object, _threshold: object, rule: ObjectRule) -> Matches:
        return Matches(100, 100, (percent[rule.seed_depth or 0],) * 5)

    monkeypatch.setattr(object_rule, "_match", match)
    probabilities, sample = _two_discs()
    assert choose_object_rule(SEEDS, [probabilities], [sample], 0.45).seed_depth in (0.5, 0.75)


def test_images_without_objects_split_least():
    empty = np.zeros((9, 9), np.uint8)
    sample = Sample("empty", empty, empty, ids=empty.astype(np.int32))
    chosen = choose_object_rule(SEEDS, [np.zeros((9, 9), np.float32)], [sample], 0.5)
    assert chosen.seed_depth == CANDIDATES[-1]


def test_smallest_area_follows_the_labelled_objects():
    ids = np.zeros((40, 40), np.int32)
    ids[:4, :5], ids[10:20, 10:20], ids[30:, 30:] = 7, 2, 300
    label = (ids > 0).view(np.uint8)
    assert smallest_area([Sample("three", label, label, ids=ids)]) == 16  # of 20 pixels, and a little more
    assert smallest_area([Sample("mask", label, label)]) == 0
