import numpy as np
import pytest

from app.encode import Output, renderer
from model.engines.engine import Array


@pytest.fixture
def one_class() -> Array:
    return np.array([[[0.0, 0.25, 0.5], [0.75, 0.999, 1.0]]], np.float32)


@pytest.mark.parametrize(("threshold", "foreground"), [(0.2, 5), (0.5, 4), (0.5001, 3), (0.9999, 1)])
def test_a_mask_is_255_from_the_threshold_on(one_class: Array, threshold: float, foreground: int):
    mask = renderer("mask", threshold, 0)(one_class)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, np.where(one_class[0] >= threshold, 255, 0))
    assert (mask == 255).sum() == foreground


def test_a_probability_is_scaled_to_16_bits_and_rounded(one_class: Array):
    image = renderer("probability", 0.5, 0)(one_class)
    assert image.dtype == np.uint16
    assert image.tolist() == [[0, 16384, 32768], [49151, 65469, 65535]]


def test_of_several_classes_the_mask_is_the_index_of_the_most_probable():
    probabilities = np.array([[[0.5, 0.1]], [[0.3, 0.2]], [[0.2, 0.7]]], np.float32)
    assert renderer("mask", 0.5, 0)(probabilities).tolist() == [[0, 2]]


@pytest.mark.parametrize(("class_index", "expected"), [(0, [[32768, 6554]]), (2, [[13107, 45874]])])
def test_a_probability_is_that_of_the_class_asked_for(class_index: int, expected: list[list[int]]):
    probabilities = np.array([[[0.5, 0.1]], [[0.3, 0.2]], [[0.2, 0.7]]], np.float32)
    assert renderer("probability", 0.5, class_index)(probabilities).tolist() == expected


@pytest.mark.parametrize("output", ["mask", "probability"])
def test_the_answer_is_as_large_as_the_probabilities(output: Output):
    assert renderer(output, 0.5, 0)(np.zeros((1, 3, 11), np.float32)).shape == (3, 11)
