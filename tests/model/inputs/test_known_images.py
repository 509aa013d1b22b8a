"""Tests novelty: images of a known kind are usual, images of other kinds are not."""

import numpy as np
import pytest
from pydantic import ValidationError

from model.inputs.features import measure
from model.inputs.known_images import FEWEST, UNLIKE, KnownImages, from_all_over
from model.inputs.preprocessing import Preprocessing
from model.weights_file import load_weights, save_weights
from tests.support.pictures import blobs

GREY = Preprocessing(normalisation="zscore")


def known(*grains: int) -> KnownImages:
    made = KnownImages.of((blobs(seed, grain=grain) for grain in grains for seed in range(12)), GREY)
    assert made
    return made


def scores(images: KnownImages, grain: int) -> list[float]:
    found = [images.novelty(measure(blobs(100 + seed, grain=grain), GREY) or {}) for seed in range(12)]
    return [novelty.score for novelty in found if novelty]


def test_images_of_the_same_kind_are_usual():
    assert np.median(scores(known(16), 16)) < 1.3
    assert np.mean(np.array(scores(known(16), 16)) >= UNLIKE) < 0.1


@pytest.mark.parametrize("grain", [2, 4])
def test_images_of_another_scale_are_unlike(grain):
    assert min(scores(known(16), grain)) > UNLIKE


def test_both_of_two_kinds_are_known_and_those_between_are_not():
    images = known(2, 32)
    assert max(np.median(scores(images, grain)) for grain in (2, 32)) < UNLIKE
    assert min(scores(images, 8)) > UNLIKE


def test_too_few_images_are_not_stored():
    assert KnownImages.of([blobs(seed) for seed in range(FEWEST - 1)], GREY) is None
    assert KnownImages.of([blobs(seed, side=32) for seed in range(9)], GREY) is None


def test_equal_training_images_do_not_divide_by_zero():
    images = KnownImages.of([blobs(0)] * FEWEST, GREY)
    assert images
    assert np.isfinite(scores(images, 16)).all()


def test_known_images_are_saved_and_loaded(make_net, describe, tmp_path):
    net = make_net()
    save_weights(tmp_path / "w.safetensors", net.state_dict(), describe(net, known_images=known(16)))
    loaded = load_weights(tmp_path / "w.safetensors").description.known_images
    assert loaded == known(16)
    assert scores(loaded, 4) == scores(known(16), 4)


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"a": [1.0] * 4},
        {"a": [1.0] * 5, "b": [1.0] * 6},
        {"a": [float("nan")] * 5},
        {"a": [1e300] * 5},
        {"a": [0.0] * 300},
    ],
)
def test_broken_features_are_refused(features):
    with pytest.raises(ValidationError):
        KnownImages(features=features)


def test_features_of_a_later_version_give_no_novelty():
    later = KnownImages(features={"a feature of tomorrow": [1.0, 2.0, 3.0, 4.0, 5.0]})
    assert later.novelty(measure(blobs(0), GREY) or {}) is None


def test_images_are_chosen_from_all_over_a_data_set():
    assert from_all_over(3) == [0, 1, 2]
    assert from_all_over(11, most=3) == [0, 5, 10]
