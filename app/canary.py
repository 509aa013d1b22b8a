"""The canary: an image that goes through the engine before any client's, to see whether probabilities come out.

Weights can be finite and overflow all the same, in the precision and on the chip that were chosen.

Shape letters: K classes, H height, W width.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np

from model.engines.engine import Array
from model.inputs.preprocessing import Pixels
from model.segmenter import Segmenter
from model.weights_file import WeightsError

log = logging.getLogger(__name__)

Found: TypeAlias = tuple[Array, tuple[int, ...]]
"""A tile's probabilities as the engine gives them, and the shape that they should have."""

# The first run of a shape is slower than all later ones; this is the shape that most requests have.
SIDE = 512
BLOCK = 32

# How far past 0 and 1 a chip's approximate division may get.
ROUNDING = 1e-3


def run_canary(segmenter: Segmenter) -> None:
    """Runs each stream of the engine once, and what has all of its threads. Raises WeightsError."""
    image = _middle(canary_image(segmenter.description.architecture.in_channels), segmenter.largest_side or SIDE)
    runs = segmenter.engine.streams + 1
    with ThreadPoolExecutor(max_workers=runs) as pool:
        for tiles in pool.map(_run, [segmenter] * runs, [image] * runs):
            wrong = _what_is_wrong(tiles)
            if wrong:
                raise WeightsError(_message(segmenter, wrong))


def canary_image(channels: int) -> Pixels:
    """SIDE x SIDE x channels uint8, always the same: above flat blocks with edges, below noise, from black to white.

    An image of zeros would show nothing: whatever a weight is, zero times it is zero.
    """
    random = np.random.default_rng(0)
    blocks = random.integers(0, 256, (SIDE // BLOCK, SIDE // BLOCK, channels), np.uint8)
    noise = random.integers(0, 256, (SIDE // 2, SIDE, channels), np.uint8)
    return np.concatenate([blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)[: SIDE // 2], noise])


def _middle(image: Pixels, side: int) -> Pixels:
    """The middle of the image, of at most `side` rows and columns."""
    first = max(0, SIDE - side) // 2
    return image[first : first + side, first : first + side]


def _run(segmenter: Segmenter, image: Pixels) -> list[Found]:
    task, classes = segmenter.task(image), segmenter.description.architecture.classes
    found: list[Found] = []
    for tile in task.tiles:
        (top, bottom), (left, right) = tile.kept
        probabilities = segmenter.engine.run(task.cut(tile).to_input()[np.newaxis], tile.kept)
        found.append((probabilities, (1, classes, bottom - top, right - left)))
    return found


def _what_is_wrong(tiles: list[Found]) -> str | None:
    if any(found.shape != expected for found, expected in tiles):
        return "has probabilities of the wrong shape"
    values = np.concatenate([found.reshape(found.shape[1], -1) for found, _ in tiles], axis=1)  # K x pixels
    if not np.isfinite(values).all():
        return "has probabilities that are not finite"
    if values.min() < -ROUNDING or values.max() > 1 + ROUNDING:
        return "has probabilities outside 0..1"
    # Some engines' ReLU makes 0 of what is not a number; then only the last layer's bias is left. But a net may be so.
    if (values == values[:, :1]).all():
        log.warning("the canary has the same probabilities everywhere: are these the weights that were meant?")
    return None


def _message(segmenter: Segmenter, wrong: str) -> str:
    engine = segmenter.engine
    advice = "; SEGMENT_PRECISION=fp32 may do" if engine.precision in ("bf16", "fp16") else ""
    where = f"computed in {engine.precision} by {engine.name} on {engine.device}"
    return f"weights {segmenter.weights.label}: {where}, a test image {wrong}{advice}"
