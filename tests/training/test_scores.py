"""Cases worked by hand, from the definition in Arganda-Carreras et al. 2015."""

import math

import numpy as np
import pytest

from training.scores import rand_and_information, score, segments

TWO = np.array([[True, True, False, True, True]])  # two segments of two pixels


def test_the_label_itself_scores_1():
    assert rand_and_information(np.array([[1, 1, 9, 2, 2]]), TWO) == (1.0, pytest.approx(1.0))


def test_two_segments_merged_into_one():
    # p_ij = 1/2, 1/2; s = 1; t = 1/2, 1/2: V_rand = 2 * 1/2 / (1 + 1/2); the merged one tells nothing
    v_rand, v_info = rand_and_information(np.array([[1, 1, 1, 1, 1]]), TWO)
    assert v_rand == pytest.approx(2 / 3)
    assert v_info == pytest.approx(0)


def test_one_segment_split_in_halves():
    v_rand, v_info = rand_and_information(np.array([[1, 1, 2, 2]]), np.ones((1, 4), bool))
    assert v_rand == pytest.approx(2 / 3)
    assert v_info == pytest.approx(0)


def test_a_shifted_border():
    # joint 2/4, 1/4, 1/4; s = 3/4, 1/4; t = 2/4, 2/4
    v_rand, v_info = rand_and_information(np.array([[1, 1, 7, 1, 2]]), TWO)
    assert v_rand == pytest.approx(2 * (4 + 1 + 1) / ((9 + 1) + (4 + 4)))
    h_s, h_t, h_st = math.log(4) - 3 / 4 * math.log(3), math.log(2), 1.5 * math.log(2)
    assert v_info == pytest.approx(2 * (h_s + h_t - h_st) / (h_s + h_t))


def test_background_of_the_label_does_not_count():
    label = np.array([[True, True, False, False]])
    assert rand_and_information(np.array([[1, 1, 2, 3]]), label)[0] == 1.0


def test_segments_touching_at_a_corner_are_two():
    corner = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    found = segments(corner, 0.5)
    assert found[0, 0] != found[1, 1]


def test_segments_grow_until_single_pixel_lines_are_left():
    probabilities = np.ones((7, 21), np.float32)
    probabilities[:, 8:13] = [0.3, 0.2, 0.1, 0.2, 0.3]
    found = segments(probabilities, 0.5)
    assert (found[:, :10] == found[0, 0]).all()
    assert (found[:, 11:] == found[0, 20]).all()
    line = found[:, 10]
    assert len({*line, found[0, 0], found[0, 20]}) == len(line) + 2, "each line pixel is a segment of its own"


def test_without_foreground_every_pixel_is_alone():
    assert len(np.unique(segments(np.zeros((4, 5), np.float32), 0.5))) == 20


def test_a_label_without_foreground_scores_1():
    assert rand_and_information(np.ones((2, 2), np.int64), np.zeros((2, 2), bool)) == (1.0, 1.0)


def test_pixel_scores_are_worked_by_hand():
    label = np.array([[True, True, False, False]])
    scores = score(np.array([[0.9, 0.2, 0.9, 0.1]], np.float32), label, 0.5)
    assert (scores.dice, scores.iou, scores.pixel_error) == (0.5, pytest.approx(1 / 3), 0.5)
    assert (scores.background_dice, scores.background_iou, scores.foreground) == (0.5, pytest.approx(1 / 3), 0.5)
