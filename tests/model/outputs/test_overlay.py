import numpy as np
import pytest
from numpy.typing import NDArray

from model.inputs.preprocessing import Pixels
from model.outputs.colours import colour
from model.outputs.objects import find_regions
from model.outputs.overlay import draw_overlay


def _drawn(image: Pixels, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return draw_overlay(image, find_regions(mask), mask)


def test_the_image_shines_through_and_outlines_are_solid():
    image = np.tile(np.arange(0, 256, 25, dtype=np.uint8), (9, 1))
    mask = np.zeros(image.shape, np.uint8)
    mask[2:7, 2:9] = 255
    drawn = _drawn(image, mask)
    assert drawn.shape == (*image.shape, 3)
    assert drawn.dtype == np.uint8
    outside = mask == 0
    assert (np.ptp(drawn[outside].astype(int), axis=1) == 0).all(), "grey outside"
    assert tuple(drawn[2, 4]) == tuple(drawn[6, 8]) == colour(255)
    assert drawn[4, 3].sum() < drawn[4, 7].sum(), "brighter where the image is"
    assert not np.array_equal(drawn[4, 4], drawn[4, 4, ::-1])


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_are_kept(channels: int):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, channels)).astype(np.uint8)
    image[0, 0], image[0, 1] = 0, 255
    assert np.array_equal(_drawn(image, np.zeros((8, 8), np.uint8)), image[:, :, :3])


def test_an_image_in_16_bits_looks_like_the_same_in_8():
    image = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    mask = np.where(image > 99, 255, 0).astype(np.uint8)
    assert np.array_equal(_drawn(image.astype(np.uint16) * 257, mask), _drawn(image, mask))


def test_a_constant_image_is_drawn():
    assert _drawn(np.full((2, 3), 7, np.uint8), np.zeros((2, 3), np.uint8)).shape == (2, 3, 3)


def test_a_mask_at_the_edge_has_no_outline_there():
    drawn = _drawn(np.arange(16, dtype=np.uint8).reshape(4, 4), np.full((4, 4), 255, np.uint8))
    assert not (drawn == colour(255)).all(axis=2).any()


def test_touching_objects_are_outlined_separately():
    ids = np.zeros((7, 12), np.int32)
    ids[1:6, 1:6], ids[1:6, 6:11] = 1, 2
    drawn = draw_overlay(np.zeros(ids.shape, np.uint8), ids, np.where(ids > 0, 255, 0).astype(np.uint8))
    solid = (drawn == colour(255)).all(axis=2)
    assert solid[3].tolist() == [False, True, False, False, False, True, True, False, False, False, True, False]


def test_classes_differ_in_colour():
    assert len({colour(value) for value in range(1, 8)}) == 7


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_an_image_of_any_number_of_channels_has_an_overlay(channels):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, channels), np.uint8)
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 5:12] = 255
    drawn = draw_overlay(image, find_regions(mask), mask)
    assert drawn.shape == (20, 30, 3)
    shown = image[..., :3] if channels >= 3 else image[..., :1]
    assert np.abs(drawn[mask == 0].astype(int) - shown[mask == 0]).max() <= 2
    assert np.array_equal(draw_overlay(image, find_regions(mask * 0), mask * 0)[10:], drawn[10:])
