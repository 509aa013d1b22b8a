"""V_rand and V_info, worked by hand from the definition in Arganda-Carreras et al. 2015."""

import math

import numpy as np
import pytest

from training.scoring.rand import nearest_segments, rand_and_information, segments, v_rand_of_one_segment

TWO = np.array([[1, 1, 0, 2, 2]], np.int32)  # two objects of two pixels


def test_the_label_itself_scores_1():
    assert rand_and_information(np.array([[1, 1, 9, 2, 2]]), TWO) == (1.0, pytest.approx(1.0))


def test_two_objects_merged_into_one_segment():
    # p_ij = 1/2, 1/2; s = 1; t = 1/2, 1/2: V_rand = 2 * 1/2 / (1 + 1/2); one segment has no information
    v_rand, v_info = rand_and_information(np.array([[1, 1, 1, 1, 1]]), TWO)
    assert v_rand == pytest.approx(2 / 3)
    assert v_info == pytest.approx(0)
    assert v_rand_of_one_segment([TWO]) == pytest.approx(2 / 3)


def test_a_shifted_border():
    # joint 2/4, 1/4, 1/4; s = 3/4, 1/4; t = 2/4, 2/4
    v_rand, v_info = rand_and_information(np.array([[1, 1, 7, 1, 2]]), TWO)
    assert v_rand == pytest.approx(2 * (4 + 1 + 1) / ((9 + 1) + (4 + 4)))
    h_s, h_t, h_st = math.log(4) - 3 / 4 * math.log(3), math.log(2), 1.5 * math.log(2)
    assert v_info == pytest.approx(2 * (h_s + h_t - h_st) / (h_s + h_t))


def test_background_of_the_label_does_not_count():
    label = np.array([[1, 2, 0, 0]], np.int32)
    assert rand_and_information(np.array([[1, 2, 2, 3]]), label)[0] == 1.0


@pytest.mark.parametrize("label", [np.zeros((2, 2), np.int32), np.ones((2, 2), np.int32)])
def test_a_label_with_nothing_to_keep_apart_has_no_score(label):
    assert np.isnan(rand_and_information(np.ones((2, 2), np.int64), label)).all()
    assert math.isnan(v_rand_of_one_segment([label]))


def test_segments_touching_at_a_corner_are_two():
    corner = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    for divide in (segments, nearest_segments):
        found = divide(corner, 0.5)
        assert found[0, 0] != found[1, 1]


def test_segments_grow_until_single_pixel_lines_are_left():
    probabilities = np.ones((7, 21), np.float32)
    probabilities[:, 8:13] = [0.3, 0.2, 0.1, 0.2, 0.3]
    found = segments(probabilities, 0.5)
    assert (found[:, :10] == found[0, 0]).all()
    assert (found[:, 11:] == found[0, 20]).all()
    line = found[:, 10]
    assert len({*line, found[0, 0], found[0, 20]}) == len(line) + 2, "each line pixel is a segment of its own"


def test_nearest_segments_grow_to_the_middle_between_objects():
    probabilities = np.ones((7, 22), np.float32)
    probabilities[:, 9:13] = 0.2
    found = nearest_segments(probabilities, 0.5)
    assert (found[:, :11] == found[0, 0]).all()
    assert (found[:, 11:] == found[0, 21]).all()
    assert found[0, 0] != found[0, 21]


@pytest.mark.parametrize("divide", [segments, nearest_segments])
def test_without_foreground_every_pixel_is_a_segment(divide):
    assert len(np.unique(divide(np.zeros((4, 5), np.float32), 0.5))) == 20


def test_a_probability_equal_to_the_threshold_is_foreground():
    probabilities = np.full((1, 3), 0.3, np.float32)
    assert len(np.unique(segments(probabilities, 0.3))) == 1
