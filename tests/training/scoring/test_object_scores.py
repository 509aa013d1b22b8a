"""Matches of objects, counted by hand."""

import math

import numpy as np
import pytest

from model.outputs.objects import ObjectRule
from training.data.folder import IGNORED, Sample
from training.scoring.object_scores import Matches, find_objects, foreground_of, labelled_objects, match_objects

EVERYWHERE = np.ones((1, 10), np.bool_)


def row(*ids: int) -> np.ndarray:
    return np.array([ids], np.int32)


def test_objects_match_by_overlap_whatever_their_ids():
    labelled = row(7, 7, 7, 7, 0, 0, 300, 300, 300, 0)
    found = row(1, 1, 1, 0, 0, 0, 2, 2, 2, 2)  # IoU 3/4 and 3/4
    matches = match_objects(found, labelled, EVERYWHERE)
    assert matches == Matches(2, 2, (2, 2, 2, 0, 0))
    assert matches.f1 == (1, 1, 1, 0, 0)


def test_two_halves_of_an_object_do_not_match_it():
    matches = match_objects(row(*[1] * 5, *[2] * 5), row(*[1] * 10), EVERYWHERE)
    assert matches.matched[0] == 0


def test_merged_objects_match_neither():
    matches = match_objects(row(*[1] * 10), row(*[1] * 5, *[2] * 5), EVERYWHERE)
    assert matches == Matches(1, 2, (0, 0, 0, 0, 0))


def test_no_objects_at_all_have_no_f1():
    nothing = row(*[0] * 10)
    assert math.isnan(match_objects(nothing, nothing, EVERYWHERE).f1[0])
    assert match_objects(row(*[1] * 10), nothing, EVERYWHERE).f1[0] == 0


def test_ignored_pixels_belong_to_no_object():
    counted = EVERYWHERE.copy()
    counted[0, 5:] = False
    matches = match_objects(row(*[1] * 10), row(*[4] * 5, *[0] * 5), counted)
    assert matches == Matches(1, 1, (1, 1, 1, 1, 1))


def test_counts_of_images_add_up():
    assert Matches(1, 2, (1, 1, 0, 0, 0)) + Matches(3, 1, (1, 0, 0, 0, 0)) == Matches(4, 3, (2, 1, 0, 0, 0))


@pytest.mark.parametrize(("objects", "expected"), [("regions", 20), ("interiors", 47), ("seeds", 20)])
def test_objects_are_found_as_in_the_service(objects, expected):
    probabilities = np.zeros((5, 10), np.float32)
    probabilities[:, :2] = probabilities[:, 8:] = 1
    assert np.count_nonzero(find_objects(probabilities, 0.5, ObjectRule(objects))) == pytest.approx(expected, abs=3)


def test_ids_of_a_label_decide_its_objects_and_foreground():
    ids = np.array([[1, 1, 2, 2, 0]], np.int32)
    label = np.array([[1, 0, 0, 1, IGNORED]], np.uint8)
    with_ids = Sample("a", np.zeros((1, 5), np.uint8), label, ids=ids)
    assert (labelled_objects(with_ids) == ids).all()
    assert (foreground_of(with_ids) == [[True, True, True, True, False]]).all()
    without = Sample("a", np.zeros((1, 5), np.uint8), label)
    assert labelled_objects(without).max() == 2
    assert (foreground_of(without) == [[True, False, False, True, False]]).all()
