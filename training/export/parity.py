"""The parity check: compares an exported file with the net in torch.

Shape letters: N images, C channels, K classes, H height, W width.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch

from model.engines.engine import Array
from model.engines.pytorch import TorchEngine
from model.weights_file import Description, Weights
from training.synthetic import cells

Run: TypeAlias = Callable[[Array], Array]
"""N x C x H x W float32, preprocessed, H and W multiples of the net's stride -> N x K x H x W probabilities."""

# Of a probability. Programs sum in other orders and multiply by other algorithms, which makes up a hundredth of this.
TOLERANCE = 1e-3

# Side in pixels of the images to compare; small, so that the check is quick.
SIDE = 64


class ParityError(Exception):
    """An exported file that computes something else than the net; the message says how much else."""


def check(weights: Weights, run: Run) -> list[str]:
    """A line for each size and batch that was tried, with the largest difference. Raises ParityError."""
    engine = TorchEngine(weights.build_net(), "cpu", "fp32", weights.description.threshold)
    lines, worst = [], 0.0
    for batch in batches(weights.description):
        expected, computed = engine.run(batch), run(batch)
        same_shape = computed.shape == expected.shape
        difference = float(np.abs(computed - expected).max()) if same_shape else np.inf
        lines.append(f"{' x '.join(map(str, batch.shape))}: differs from torch by {difference:.1e} at most")
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    if worst > TOLERANCE:
        raise ParityError(f"more than {TOLERANCE:g} from the net in torch, so nothing was written\n" + "\n".join(lines))
    return lines


def batches(description: Description) -> list[Array]:
    """Returns batches of one, two and three images, square, wide and tall, with preprocessed cells."""
    stride, channels = description.unet.stride, description.unet.in_channels
    side = -(-SIDE // stride) * stride
    image = np.stack([cells(3 * side, np.random.default_rng(seed))[0] for seed in range(channels)], axis=2)
    prepared = description.preprocessing.affine(image).apply(image)
    shapes = [(1, 2 * side, 2 * side), (2, side, 3 * side), (3, 3 * side, 2 * side)]
    # each image of a batch is the last one moved by a pixel: were they all alike, mixing them up would not be seen
    return [
        np.stack([np.roll(prepared, index, axis=2)[:, :height, :width] for index in range(count)])
        for count, height, width in shapes
    ]


def without_gradients(net: torch.nn.Module) -> Run:
    """Runs a module of torch."""

    def run(batch: Array) -> Array:
        with torch.inference_mode():
            probabilities: Array = net(torch.from_numpy(batch)).numpy()
        return probabilities

    return run
