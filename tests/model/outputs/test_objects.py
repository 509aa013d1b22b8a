import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.outputs.objects import class_of_each, find_regions, thin_borders


def _mask(rows: str) -> NDArray[np.uint8]:
    return np.array([[0 if sign == "." else int(sign) for sign in row] for row in rows.split()], np.uint8)


def _cells(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A mask of rounded islands, and a relief that falls into them."""
    noise = np.random.default_rng(seed).random((90, 70), np.float32)
    levels = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)  # type: ignore[call-overload]
    return np.where(levels > 140, 255, 0).astype(np.uint8), 255 - levels


def test_regions_that_touch_at_a_corner_alone_are_two():
    ids = find_regions(_mask("1.. .11 ..1"))
    assert ids.dtype == np.int32
    assert (ids > 0).sum() == 4
    assert ids[0, 0] != ids[1, 1]
    assert len({ids[1, 1], ids[1, 2], ids[2, 2]}) == 1


def test_regions_of_two_values_are_two_objects_even_if_they_touch():
    ids = find_regions(_mask("1122 1122 3..1"))
    assert sorted(np.unique(ids)) == [0, 1, 2, 3, 4]
    assert ids[0, 0] != ids[0, 2]
    assert ids[2, 3] not in (ids[0, 0], 0)


def test_an_empty_mask_has_no_objects():
    assert not find_regions(np.zeros((3, 4), np.uint8)).any()
    assert not thin_borders(np.zeros((3, 4), np.int32), np.zeros((3, 4), np.uint8)).any()


@pytest.mark.parametrize("seed", range(5))
def test_thinned_borders_are_lines_of_one_pixel_between_the_same_objects(seed: int):
    mask, relief = _cells(seed)
    ids = find_regions(mask)
    grown = thin_borders(ids, relief)
    assert ids.max() > 5
    assert np.array_equal(grown[ids > 0], ids[ids > 0])
    for one, other in ((grown[1:], grown[:-1]), (grown[:, 1:], grown[:, :-1])):
        assert ((one == other) | (one == 0) | (other == 0)).all(), "two objects touch"
    line = grown == 0
    assert not (line[1:, 1:] & line[:-1, 1:] & line[1:, :-1] & line[:-1, :-1]).any()


def test_lines_run_along_the_crest():
    ids = np.array([[1, 0, 0, 0, 0, 2]] * 3, np.int32)
    relief = np.array([[0, 50, 150, 230, 150, 0]] * 3, np.uint8)
    assert thin_borders(ids, relief).tolist() == [[1, 1, 1, 0, 2, 2]] * 3


def test_a_single_object_takes_all():
    ids = np.zeros((5, 6), np.int32)
    ids[2, 2] = 1
    assert (thin_borders(ids, np.full((5, 6), 9, np.uint8)) == 1).all()


def test_each_object_has_the_value_it_was_found_in():
    mask = _mask("1122 1122 3..1")
    values = class_of_each(find_regions(mask), mask)
    assert values[0] == 0
    assert np.array_equal(values[find_regions(mask)], mask)
