from typing import get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.engines.engine import Array
from model.outputs.objects import (
    ObjectRule,
    Objects,
    class_of_each,
    find_objects,
    find_regions,
    mask_of,
    split_regions,
    thin_borders,
    with_levels,
)
from model.segmenter import to_mask


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


def _keep(probabilities: Array, threshold: float, objects: Objects) -> NDArray[np.uint8]:
    return with_levels(to_mask(probabilities, threshold), probabilities[0], _rule(objects))


def _rule(objects: Objects) -> ObjectRule:
    return ObjectRule(objects, 0.7 if objects == "seeds" else None)


# Two blobs that touch where the probability dips, one that reaches no seed, and one pixel of background between.
_DIP = np.array([[9, 9, 6, 9, 9, 0, 6, 6], [9, 9, 5, 9, 9, 0, 6, 5]], np.float32)[None] / np.float32(10)


def test_region_with_two_seeds_is_split_at_the_dip():
    mask, levels = _keep(_DIP, 0.5, "seeds")
    ids = split_regions(mask, levels, 0.8)
    assert (ids > 0).tolist() == (mask > 0).tolist()
    left, right, unseeded = ids[0, 0], ids[0, 4], ids[0, 6]
    assert len({left, right, unseeded}) == 3
    assert (ids[:, :2] == left).all()
    assert (ids[:, 3:5] == right).all()
    assert set(ids[:, 2]) <= {left, right}
    assert (ids[:, 6:] == unseeded).all()


def test_seed_threshold_below_the_threshold_leaves_regions_whole():
    mask, levels = _keep(_DIP, 0.5, "seeds")
    assert np.array_equal(split_regions(mask, levels, 0.3), find_regions(mask))


def test_seed_threshold_is_compared_as_a_level():
    probabilities = np.array([[[0.8, 0.6, 0.8]]], np.float32)
    mask, levels = _keep(probabilities, 0.5, "seeds")
    assert split_regions(mask, levels, 0.8).max() == 2
    assert split_regions(mask, levels, 0.81).max() == 1, "no seed, one region"


@pytest.fixture
def probabilities() -> Array:
    """1 x H x W: blobs of several heights that touch."""
    noise = np.random.default_rng(3).random((120, 100), np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    scaled: Array = cv2.normalize(smooth, None, 0, 1, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    return scaled[None]


@pytest.mark.parametrize("objects", get_args(Objects))
@pytest.mark.parametrize("threshold", [0.2, 0.45, 0.69, 0.9, 0.999])
def test_objects_are_connected_and_numbered_without_gaps(objects: Objects, threshold: float, probabilities: Array):
    kept = _keep(probabilities, threshold, objects)
    ids = find_objects(kept, _rule(objects))
    assert ids.dtype == np.int32
    assert np.array_equal(np.unique(ids[ids > 0]), np.arange(1, ids.max() + 1))
    for index in range(1, ids.max() + 1):
        assert cv2.connectedComponents((ids == index).view(np.uint8), connectivity=4)[0] == 2
    if objects != "interiors":
        assert np.array_equal(ids > 0, mask_of(kept) > 0)


def test_seeds_split_regions_and_never_join_them(probabilities: Array):
    kept = _keep(probabilities, 0.55, "seeds")
    ids, regions = find_objects(kept, _rule("seeds")), find_regions(mask_of(kept))
    assert ids.max() > regions.max() > 1
    for index in range(1, ids.max() + 1):
        assert len(np.unique(regions[ids == index])) == 1


@pytest.mark.parametrize("objects", get_args(Objects))
def test_rendering_in_tiles_gives_the_objects_of_the_whole_image(objects: Objects, probabilities: Array):
    whole = _keep(probabilities, 0.45, objects)
    parts = [_keep(tile, 0.45, objects) for tile in np.split(probabilities, 4, axis=2)]
    assert np.array_equal(np.concatenate(parts, axis=-1), whole)


@pytest.mark.parametrize("objects", get_args(Objects))
def test_an_image_without_foreground_has_no_objects(objects: Objects):
    kept = _keep(np.zeros((1, 5, 6), np.float32), 0.5, objects)
    assert not find_objects(kept, _rule(objects)).any()
