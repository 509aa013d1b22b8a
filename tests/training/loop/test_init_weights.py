"""Weights to start from are adapted to contrast, channels and classes of the data."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.weights_file import BUNDLED, Weights, load_weights
from training.data.folder import IGNORED, Sample, load_samples
from training.loop.init_weights import FIRST_LAYER, in_contrast_of, mean_loss, with_channels, with_classes
from training.run import command as run


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


def _logits(weights: Weights, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = weights.build_net()(image)
        return logits


def test_grey_weights_give_the_same_on_grey_images_when_widened_to_rgb():
    grey = load_weights(BUNDLED)
    changes: list[str] = []
    rgb = with_channels(grey, "rgb", changes)
    assert rgb.description.architecture.in_channels == 3
    assert rgb.description.preprocessing.channels == "rgb"
    image = torch.randn(1, 1, 64, 64)
    assert torch.allclose(_logits(rgb, image.expand(1, 3, 64, 64)), _logits(grey, image), atol=1e-3)
    assert changes == [f"--init: the first layer of {grey.label} is widened from grey to RGB"]


def test_rgb_weights_give_the_same_on_grey_images_when_reduced_to_grey():
    rgb = with_channels(load_weights(BUNDLED), "rgb", [])
    rgb.tensors[FIRST_LAYER] += 0.1 * torch.randn(rgb.tensors[FIRST_LAYER].shape)
    grey = with_channels(rgb, "grey", [])
    image = torch.randn(1, 1, 64, 64)
    assert torch.allclose(_logits(rgb, image.expand(1, 3, 64, 64)), _logits(grey, image), atol=1e-3)
    assert with_channels(grey, "grey", []) is grey


def test_other_number_of_classes_replaces_only_the_last_layer():
    known = load_weights(BUNDLED)
    changes: list[str] = []
    new = with_classes(known, 3, 0, {"threshold": 0.5}, changes)
    again = with_classes(known, 3, 0, {"threshold": 0.5}, [])
    assert new.build_net().config.classes == 3
    for name, tensor in new.tensors.items():
        assert torch.equal(tensor, again.tensors[name])
        assert name.startswith("outc.") or tensor is known.tensors[name]
    assert "has 1 class(es), the labels have 3" in changes[0]


def test_ignored_pixels_do_not_count_in_the_loss(samples):
    weights = load_weights(BUNDLED)
    wrong = samples[0].label.copy()
    wrong[:40] = 1 - wrong[:40]
    ignored = wrong.copy()
    ignored[:40] = IGNORED

    def loss(label: NDArray[np.uint8]) -> float:
        return mean_loss(weights.build_net(), weights.description, [replace(samples[0], label=label)])

    assert loss(ignored) < loss(samples[0].label) < loss(wrong)


@pytest.mark.usefixtures("no_report")
def test_grey_one_class_weights_initialise_colour_and_several_classes(tmp_path, write_pair, trained):
    rng = np.random.default_rng(0)
    for stem in "012":
        write_pair(
            tmp_path / "data", stem, rng.integers(0, 255, (48, 48, 3), np.uint8), rng.integers(0, 3, (48, 48), np.uint8)
        )
    init = ["--init", str(trained / "weights.safetensors"), "--classes", "3", "--steps", "2", "--workers", "0"]
    assert run.main(["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *init]) == 0
    description = load_weights(tmp_path / "out/weights.safetensors").description
    assert (description.architecture.in_channels, description.architecture.classes) == (3, 3)
    assert description.objects == "regions"
    assert len(description.labels) == 3
