"""Tests the features of images: what they depend on, and that their cost is bounded."""

import numpy as np
import pytest

from model.inputs.features import is_coloured, measure
from model.inputs.preprocessing import Preprocessing
from tests.support.pictures import blobs, tinted

GREY = Preprocessing(normalisation="zscore")
RGB = Preprocessing(channels="rgb", normalisation="zscore")


def measured(image, preprocessing=GREY) -> list[float]:
    features = measure(image, preprocessing)
    assert features
    return list(features.values())


@pytest.mark.parametrize("change", [lambda x: x * 100.0, lambda x: x * 50.0 + 3000, lambda x: x * 257.0])
def test_features_of_a_z_scored_net_ignore_brightness_and_contrast(change):
    picture = blobs(0)
    assert measured(change(picture).astype(np.uint16)) == pytest.approx(measured(picture), abs=0.01)


def test_features_of_another_net_include_brightness():
    dark, bright = (measure(blobs(0) // 2 + shift, Preprocessing()) for shift in (0, 100))
    assert dark
    assert bright
    assert bright["brightness mean"] - dark["brightness mean"] == pytest.approx(100 / 255, abs=0.01)
    assert bright["fineness 4"] == pytest.approx(dark["fineness 4"], abs=0.01)


def test_fineness_tells_the_scale_of_structures():
    fine, coarse = (measure(blobs(0, side=256, grain=grain), GREY) for grain in (4, 32))
    assert fine
    assert coarse
    assert fine["fineness 2"] > coarse["fineness 2"] + 1
    assert coarse["fineness 16"] > fine["fineness 16"] + 1


@pytest.mark.parametrize("side", [63, 1])
def test_image_that_is_too_small_has_no_features(side):
    assert measure(np.zeros((200, side), np.uint8), GREY) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_image_of_one_value_has_finite_features(dtype):
    assert np.isfinite(measured(np.ones((64, 64, 3), dtype), RGB)).all()


def test_pixels_between_the_windows_of_a_large_image_are_not_read():
    picture = blobs(0, side=1024)
    changed = picture.copy()
    changed[70:200, 70:200] = 255
    assert measured(changed) == measured(picture)


@pytest.mark.parametrize(("channels", "count"), [("grey", 11), ("rgb", 14), ("stored", 16)])
def test_a_net_of_several_channels_sees_how_they_correlate(channels, count):
    image = np.dstack([blobs(index) for index in range(5)])
    assert len(measured(image, Preprocessing(channels=channels, normalisation="zscore"))) == count


def test_colours_are_told_from_grey_in_three_channels():
    assert is_coloured(tinted(blobs(0)))
    assert not is_coloured(np.dstack([blobs(0)] * 3))
    assert not is_coloured(blobs(0))
    assert is_coloured(tinted(blobs(0))[:5, :90])
