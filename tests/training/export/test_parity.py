from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.engines.engine import Array
from model.engines.pytorch import TorchEngine
from model.weights_file import Weights, load_weights
from training.export import parity


@pytest.fixture
def weights(save_net: Callable[..., Path], tmp_path: Path) -> Weights:
    return load_weights(save_net(tmp_path / "cells.safetensors", {"channels": "rgb"}, in_channels=3, depth=3))


@pytest.fixture
def run(weights: Weights) -> parity.Run:
    return TorchEngine(weights.build_net(), "cpu", "fp32").run


def test_several_sizes_and_batches_of_the_nets_own_input_are_tried(weights: Weights):
    batches = parity.batches(weights.description)
    assert [len(batch) for batch in batches] == [1, 2, 3]
    assert len({batch.shape[2:] for batch in batches}) == 3
    assert any(batch.shape[2] != batch.shape[3] for batch in batches)
    for batch in batches:
        assert batch.shape[1] == 3
        assert not any(size % weights.description.unet.stride for size in batch.shape[2:])
        assert batch.dtype == np.float32
        assert 0 <= batch.min() < 0.3 < 0.7 < batch.max() <= 1
        assert len({image.tobytes() for image in batch}) == len(batch)


def test_an_equal_export_passes_with_one_line_per_batch(weights: Weights, run: parity.Run):
    lines = parity.check(weights, run)
    assert [line.partition(":")[0] for line in lines] == ["1 x 3 x 128 x 128", "2 x 3 x 64 x 192", "3 x 3 x 192 x 128"]
    assert all(line.endswith("differs from torch by 0.0e+00 at most") for line in lines)


def _one_pixel(probabilities: Array) -> Array:
    probabilities[-1, 0, 5, 7] += 2 * parity.TOLERANCE
    return probabilities


def _not_a_number(probabilities: Array) -> Array:
    probabilities[0, 0, 0, 0] = np.nan
    return probabilities


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_one_pixel, "2.0e-03"),
        (_not_a_number, "nan"),
        (lambda probabilities: probabilities[::-1], "128"),
        (lambda probabilities: probabilities[..., :-1], "inf"),
    ],
)
def test_an_export_that_differs_is_refused_with_the_figures(
    weights: Weights, run: parity.Run, change: Callable[[Array], Array], told: str
):
    with pytest.raises(parity.ParityError, match=r"more than 0\.001 from the net") as error:
        parity.check(weights, lambda batch: change(run(batch)))
    assert told in str(error.value)
    assert str(error.value).count("differs") == 3
