"""The mask over its image, for looking at."""

import cv2
import numpy as np
from numpy.typing import NDArray

from model.outputs.colours import colour
from model.preprocessing import Pixels

# How much of the image shines through an object.
_SHARE = 0.7


def draw_overlay(image: Pixels, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """H x W or H x W x 3 or 4, uint8 or uint16, and its mask -> H x W x 3 uint8 RGB: tinted objects with outlines.

    The image is stretched to all 256 grey levels.
    """
    picture = _stretch(image[..., :3] if image.ndim == 3 else image)
    for value in np.unique(mask[mask > 0]):
        inside = (mask == value).view(np.uint8)
        outline = cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1) < inside
        np.copyto(picture, _tint(picture, colour(int(value))), where=(inside > 0)[:, :, None])
        picture[outline] = colour(int(value))
    return picture


def _stretch(image: Pixels) -> NDArray[np.uint8]:
    """H x W or H x W x 3 -> H x W x 3 uint8, from its lowest to its highest value."""
    grey_or_colour = np.zeros(image.shape, np.uint8)
    cv2.normalize(image, grey_or_colour, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    if image.ndim == 3:
        return grey_or_colour
    return cv2.cvtColor(grey_or_colour, cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]


def _tint(picture: NDArray[np.uint8], rgb: tuple[int, int, int]) -> NDArray[np.uint8]:
    levels = np.arange(256, dtype=np.float32)[:, None, None] * _SHARE + np.array(rgb, np.float32) * (1 - _SHARE)
    return cv2.LUT(picture, levels.round().astype(np.uint8))  # type: ignore[return-value]
