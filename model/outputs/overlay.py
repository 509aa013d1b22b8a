"""Objects drawn over their image."""

import cv2
import numpy as np
from numpy.typing import NDArray

from model.inputs.preprocessing import Values
from model.outputs.colours import colour
from model.outputs.objects import Ids, class_of_each

# How much of the image shines through an object.
_SHARE = 0.7


def draw_overlay(image: Values, ids: Ids, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tint and outline objects in their image, stretched to all 256 grey levels.

    Args:
        image: H x W or H x W x C, uint8, uint16 or float32. Shown are the first three channels as RGB, or one of two.
        ids: H x W, the objects found in `mask`.
        mask: H x W; its values choose the objects' colours.

    Returns:
        H x W x 3 uint8, RGB.
    """
    picture = _stretch(_shown(image))
    values = class_of_each(ids, mask)[ids]
    outline = _outlines(ids)
    for value in np.unique(values[values > 0]):
        inside = values == value
        np.copyto(picture, _tint(picture, colour(int(value))), where=inside[:, :, None])
        picture[inside & outline] = colour(int(value))
    return picture


def _shown(image: Values) -> Values:
    """H x W or H x W x 3 of an image H x W or H x W x C."""
    if image.ndim == 2:
        return image
    return image[..., :3] if image.shape[2] >= 3 else image[..., 0]


def _outlines(ids: Ids) -> NDArray[np.bool_]:
    """Mark each pixel that has a pixel of something else among its 8 neighbours; there is nothing past the image."""
    exact = ids.astype(np.float32)  # OpenCV's filters take no int32; float32 holds integers up to 2^24 exactly
    neighbours = np.ones((3, 3), np.uint8)
    different: NDArray[np.bool_] = (cv2.erode(exact, neighbours) != exact) | (cv2.dilate(exact, neighbours) != exact)
    return different


def _stretch(image: Values) -> NDArray[np.uint8]:
    """H x W or H x W x 3 -> H x W x 3 uint8, from its lowest to its highest value."""
    grey_or_colour = np.zeros(image.shape, np.uint8)
    cv2.normalize(image, grey_or_colour, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    if image.ndim == 3:
        return grey_or_colour
    return cv2.cvtColor(grey_or_colour, cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]


def _tint(picture: NDArray[np.uint8], rgb: tuple[int, int, int]) -> NDArray[np.uint8]:
    levels = np.arange(256, dtype=np.float32)[:, None, None] * _SHARE + np.array(rgb, np.float32) * (1 - _SHARE)
    return cv2.LUT(picture, levels.round().astype(np.uint8))  # type: ignore[return-value]
