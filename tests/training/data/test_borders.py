import numpy as np
import pytest

from training.data.borders import SIGMA, border_closeness, border_weights

ONE_LEVEL = 8 / 255


def _weights(foreground, strength):
    return border_weights(border_closeness(foreground), strength)


def test_weights_are_worked_by_hand_between_two_objects():
    label = np.zeros((9, 40), bool)
    label[:, :10], label[:, 14:] = True, True  # background columns 10 to 13
    weights = _weights(label, strength=8)
    assert weights.dtype == np.float32
    assert (weights[label] == 1).all()
    # column 11 is 2 pixels from the left object and 3 from the right one
    assert weights[4, 11] == pytest.approx(1 + 8 * np.exp(-((2 + 3) ** 2) / (2 * SIGMA**2)), abs=ONE_LEVEL)


def test_wide_gaps_and_single_objects_count_as_everything_else():
    label = np.zeros((9, 100), bool)
    label[:, :10], label[:, 90:] = True, True
    assert _weights(label, strength=8)[4, 50] == pytest.approx(1, abs=1e-3)
    label[:, 90:] = False
    assert (_weights(label, strength=8) == 1).all()


def test_objects_of_two_classes_that_touch_are_one():
    label = np.zeros((9, 40), np.uint8)
    label[:, 10:14], label[:, 14:20] = 1, 2
    assert _weights(label > 0, strength=8)[4, 22] == pytest.approx(1, abs=1e-3)
    label[:, 25:30] = 2
    assert _weights(label > 0, strength=8)[4, 22] > 4


def test_weights_do_not_depend_on_where_in_memory_they_are_computed():
    y, x = np.mgrid[:200, :200]
    label = (y % 40 - 20) ** 2 + (x % 50 - 25) ** 2 < 18**2
    first, elsewhere = _weights(label, strength=5), []
    for size in range(1000, 1320, 16):
        elsewhere.append(bytearray(size))
        np.testing.assert_array_equal(_weights(label, strength=5), first)
