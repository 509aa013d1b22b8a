"""What is kept of the probabilities, and the bytes of an answer."""

from typing import Literal, TypeAlias

from model.images import to_probability_image
from model.segmenter import Render, to_mask

Output: TypeAlias = Literal["mask", "probability"]


def renderer(output: Output, threshold: float, class_index: int) -> Render:
    """K x H x W in 0..1 -> H x W: 8 bits for the mask, 16 bits (65535 = 1.0) for a class's probability.

    Tiles are rendered as they are computed, so a request never holds the probabilities of its whole image.
    """
    if output == "mask":
        return lambda probabilities: to_mask(probabilities, threshold)
    return lambda probabilities: to_probability_image(probabilities[class_index])
