"""Probabilities to the bytes of an answer."""

from typing import Literal, TypeAlias

from model.engine import Array
from model.images import encode_png, to_probability_image
from model.segmenter import to_mask

Output: TypeAlias = Literal["mask", "probability"]


def encode(probabilities: Array, output: Output, threshold: float, class_index: int) -> bytes:
    """K x H x W in 0..1 -> a PNG of H x W: 8 bits for the mask, 16 bits (65535 = 1.0) for a class's probability."""
    if output == "mask":
        return encode_png(to_mask(probabilities, threshold))
    return encode_png(to_probability_image(probabilities[class_index]))
