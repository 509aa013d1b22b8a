"""The example of a weights file: a small picture of an image and one of its mask, for people who choose a net.

Shape letters: H height, W width, C channels.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model.inputs.card import MAX_BYTES, MAX_SIDE, Example
from model.inputs.known_images import from_all_over
from model.inputs.preprocessing import Values
from model.outputs.colours import colour
from training.data.folder import IGNORED, Sample

# Labels that are looked at to find a typical one.
_CANDIDATES = 50

# Sides in pixels, until the files are small enough.
_SIDES = (MAX_SIDE, 160, 128, 96, 64)

# Larger images are cropped: shrunk more, their objects would not be seen.
_CROP = 4 * MAX_SIDE

_SMALLEST_FILE = [cv2.IMWRITE_PNG_COMPRESSION, 9]


def typical_example(samples: Sequence[Sample], classes: int) -> Example | None:
    """Returns the sample with the median share of foreground as pictures; None if its pictures are too large.

    Args:
        samples: At least one.
        classes: Number of classes of the labels; 1 for foreground and background.
    """
    candidates = [samples[index] for index in from_all_over(len(samples), _CANDIDATES)]
    shares = [float(sample.foreground.mean()) for sample in candidates]
    sample = candidates[int(np.argsort(shares, kind="stable")[len(shares) // 2])]
    label = np.where(sample.label == IGNORED, 0, sample.label).astype(np.uint8)
    return make_example(sample.pixels, label * 255 if classes == 1 else label)


def make_example(image: Values, mask: NDArray[np.uint8]) -> Example | None:
    """Crops, shrinks and encodes an image and its mask; None if the pictures are too large for a weights file.

    Args:
        image: H x W or H x W x C; only the first channel is shown if they are no colours.
        mask: H x W, 0 and 255, or class indices.
    """
    picture, drawn = _crop(_to_8_bits(image)), _crop(_in_colours(mask))
    for side in _SIDES:
        files = [_encode(_shrink(each, side)) for each in (picture, drawn)]
        if sum(map(len, files)) <= MAX_BYTES:
            return Example.of(*files)
    return None


def _to_8_bits(image: Values) -> NDArray[np.uint8]:
    """H x W or H x W x 3, stretched from the lowest to the highest value."""
    shown = image if image.ndim == 2 else image[:, :, :3] if image.shape[2] in (3, 4) else image[:, :, 0]
    stretched = np.zeros(shown.shape, np.uint8)
    cv2.normalize(shown, stretched, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    return stretched


def _in_colours(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """H x W if the mask has the values 0 and 255, else H x W x 3."""
    if not np.any((mask > 0) & (mask < 255)):
        return mask
    colours = np.array([(0, 0, 0), *map(colour, range(1, 256))], np.uint8)
    coloured: NDArray[np.uint8] = colours[mask]
    return coloured


def _crop(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cuts out the middle."""
    height, width = (min(size, _CROP) for size in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def _shrink(picture: NDArray[np.uint8], side: int) -> Any:
    """Shrinks a picture so that its longer side has at most `side` pixels."""
    height, width = picture.shape[:2]
    factor = min(1.0, side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _encode(picture: Any) -> bytes:
    """H x W or H x W x 3, RGB -> PNG."""
    stored = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    _, encoded = cv2.imencode(".png", stored, _SMALLEST_FILE)
    return encoded.tobytes()
