"""Cases worked by hand."""

import math

import numpy as np
import pytest

from training.data.folder import IGNORED
from training.scoring.class_scores import Confusion

LABEL = np.array([[0, 0, 1, 1, 1, 3]], np.uint8)
FOUND = np.array([[0, 1, 1, 1, 0, 3]], np.uint8)


def test_dice_iou_precision_and_recall_of_each_class():
    confusion = Confusion.of(FOUND, LABEL, 4)
    assert (confusion.dice(0), confusion.iou(0)) == (2 * 1 / (2 + 2), pytest.approx(1 / 3))
    assert (confusion.dice(1), confusion.iou(1)) == (pytest.approx(2 * 2 / (3 + 3)), pytest.approx(2 / 4))
    assert (confusion.precision(1), confusion.recall(1)) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert confusion.pixel_error == pytest.approx(2 / 6)
    assert confusion.labelled == pytest.approx({0: 2 / 6, 1: 3 / 6, 3: 1 / 6})


def test_means_are_over_the_foreground_classes_that_are_labelled():
    confusion = Confusion.of(FOUND, LABEL, 4)
    assert confusion.mean_dice == pytest.approx((2 / 3 + 1) / 2)
    assert confusion.mean_iou == pytest.approx((1 / 2 + 1) / 2)
    assert math.isnan(confusion.dice(2))


def test_an_unlabelled_class_is_excluded_from_the_mean():
    confusion = Confusion.of(np.array([[1, 2]], np.uint8), np.array([[1, 1]], np.uint8), 3)
    assert confusion.mean_dice == pytest.approx(2 / 3)
    assert confusion.dice(2) == 0
    assert confusion.scores().keys() == {
        *("mean_dice", "mean_iou", "pixel_error"),
        *("dice_1", "iou_1", "precision_1", "recall_1"),
    }


def test_without_foreground_the_mean_is_the_backgrounds():
    confusion = Confusion.of(np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8), 3)
    assert confusion.mean_dice == confusion.dice(0) == pytest.approx(2 / 3)


def test_confusions_of_images_add_up_to_that_of_both():
    both = Confusion.of(np.hstack([FOUND, LABEL]), np.hstack([LABEL, LABEL]), 4)
    assert ((Confusion.of(FOUND, LABEL, 4) + Confusion.of(LABEL, LABEL, 4)).pixels == both.pixels).all()


def test_ignored_pixels_do_not_count():
    label = np.where(FOUND == LABEL, LABEL, IGNORED).astype(np.uint8)
    confusion = Confusion.of(FOUND, label, 4)
    assert confusion.pixels.sum() == 4
    assert confusion.pixel_error == 0
