"""Starting from weights that know images of the other contrast."""

from dataclasses import replace

import pytest
import torch

from model.weights_file import BUNDLED, Weights, load_weights
from training.data import Sample, load_samples
from training.initial import FIRST_LAYER, in_contrast_of


@pytest.fixture
def samples(cells_folder) -> list[Sample]:
    return load_samples(cells_folder)


def _first_layer(weights: Weights) -> torch.Tensor:
    return weights.tensors[FIRST_LAYER]


def test_weights_that_fit_are_left_as_they_are(samples):
    weights = load_weights(BUNDLED)
    assert in_contrast_of(weights, samples) is weights


def test_on_inverted_images_the_net_gives_what_it_gave_on_the_others(samples):
    weights = load_weights(BUNDLED)
    inverted = [replace(sample, pixels=255 - sample.pixels) for sample in samples]
    turned = in_contrast_of(weights, inverted)
    assert torch.equal(_first_layer(turned), -_first_layer(weights))
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(turned.build_net()(-image), weights.build_net()(image), atol=1e-4)
    assert torch.equal(_first_layer(in_contrast_of(turned, samples)), _first_layer(weights))


def test_a_net_whose_input_is_not_centred_is_left_as_it_is(samples):
    weights = load_weights(BUNDLED)
    plain = weights.description.preprocessing.model_copy(update={"normalisation": "none"})
    weights = replace(weights, description=weights.description.model_copy(update={"preprocessing": plain}))
    assert in_contrast_of(weights, [replace(sample, pixels=255 - sample.pixels) for sample in samples]) is weights
