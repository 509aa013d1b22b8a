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
    drop_small,
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


def test_regions_that_touch_only_at_a_corner_are_separate():
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
    return ObjectRule(objects, 0.75 if objects == "seeds" else None)


def _discs(*centres: tuple[int, int], radius: int = 10) -> NDArray[np.uint8]:
    mask = np.zeros((60, 90), np.uint8)
    for x, y in centres:
        cv2.circle(mask, (x, y), radius, 255, -1)
    return mask


def test_discs_that_overlap_are_split_at_their_neck():
    mask = _discs((20, 20), (37, 20), (70, 40))
    ids = split_regions(mask, find_regions(mask), 0.75)
    assert ids.max() == 3
    assert np.array_equal(ids > 0, mask > 0)
    left, right = ids[20, 20], ids[20, 37]
    assert left != right
    assert set(ids[mask > 0]) == {1, 2, 3}
    columns = np.nonzero(ids == left)[1]
    assert columns.max() in (28, 29)


def test_deep_necks_only_are_split():
    mask = _discs((20, 20), (30, 20))
    regions = find_regions(mask)
    assert split_regions(mask, regions, 0.5).max() == 2
    assert split_regions(mask, regions, 4).max() == 1


def test_ragged_outlines_split_nothing():
    mask = _discs((40, 30), radius=20)
    edge = mask != cv2.erode(mask, np.ones((3, 3), np.uint8))
    mask[edge & (np.random.default_rng(0).random(mask.shape) < 0.5)] = 0
    mask = np.where(find_regions(mask) == find_regions(mask)[30, 40], 255, 0).astype(np.uint8)
    assert split_regions(mask, find_regions(mask), 0.75).max() == 1


def test_small_objects_are_dropped_and_the_others_renumbered():
    ids = np.array([[1, 0, 2, 2, 0, 3, 3, 3]], np.int32)
    assert drop_small(ids, 2).tolist() == [[0, 0, 1, 1, 0, 2, 2, 2]]
    assert drop_small(ids, 4).max() == 0
    assert drop_small(ids, 0).tolist() == ids.tolist()


@pytest.mark.parametrize("objects", get_args(Objects))
def test_objects_below_the_least_area_are_in_no_output(objects: Objects):
    mask = _discs((20, 20), (70, 40))
    mask[5, 50] = 255
    kept = with_levels(mask, (mask / np.float32(300)).astype(np.float32), ObjectRule(objects, None))
    assert find_objects(kept, ObjectRule(objects, None, min_area=2)).max() == 2
    assert find_objects(kept, ObjectRule(objects, None)).max() == 3


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
    mask = _keep(probabilities, 0.55, "seeds")
    ids, regions = find_objects(mask, _rule("seeds")), find_regions(mask)
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
