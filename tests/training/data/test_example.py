"""Tests the example of a weights file: small, typical, and the same every time."""

import numpy as np
import pytest

from model.images.decoding import decode_image
from model.inputs.card import MAX_BYTES, MAX_SIDE
from model.outputs.colours import colour
from tests.support.pictures import blobs
from training.data.example import make_example, typical_example
from training.data.folder import IGNORED, Sample


def sample(width: int, classes: int = 1) -> Sample:
    """128 x 128, with `width` columns of foreground."""
    label = np.zeros((128, 128), np.uint8)
    label[:, :width] = classes
    label[:4] = IGNORED
    return Sample(str(width), blobs(width), label)


def test_typical_example_has_the_median_share_of_foreground():
    example = typical_example([sample(100), sample(0), sample(32)], classes=1)
    assert example
    mask = decode_image(example.mask)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[8:] > 0).mean() == pytest.approx(0.25)
    assert typical_example([sample(100), sample(0), sample(32)], classes=1) == example


def test_classes_are_shown_in_colours():
    example = typical_example([sample(64, classes=2)], classes=3)
    assert example
    mask = decode_image(example.mask)
    assert tuple(mask[64, 10]) == colour(2)
    assert tuple(mask[64, 100]) == (0, 0, 0)


@pytest.mark.parametrize("shape", [(3000, 2000), (1, 900), (400, 600, 3), (300, 300, 4), (200, 200, 6)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_example_of_any_image_is_small(shape, dtype):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    example = make_example(image, np.zeros(shape[:2], np.uint8))
    assert example
    picture = decode_image(example.image)
    assert max(picture.shape[:2]) <= MAX_SIDE
    assert picture.shape[:2] == decode_image(example.mask).shape[:2]
    assert len(example.image) + len(example.mask) <= MAX_BYTES


def test_dark_image_of_16_bits_is_stretched():
    example = make_example(blobs(0).astype(np.uint16) + 300, np.zeros((128, 128), np.uint8))
    assert example
    assert np.ptp(decode_image(example.image)) == 255
