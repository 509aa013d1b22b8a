"""Pixel values of an FP32 tensor to images that a net takes.

Shape letters: N images, C channels, H height, W width.
"""

import numpy as np
from numpy.typing import NDArray

from app.open_inference.protocol import bad_request
from model.inputs.preprocessing import FULL_SCALE, Values
from model.weights_file import Description

# What the largest value of a tensor may mean: the first of these that it does not exceed is the full scale.
SCALES = (1.0, 255.0, 65535.0)

# A few roundings of float32, as a part of the full scale: the fraction that dividing by it may leave of a whole level.
ROUNDING = 2.0**-22


def to_images(values: NDArray[np.float32], description: Description) -> list[Values]:
    """Turns a tensor into images.

    Values that were 8 bits become 8 bits again; otherwise their mask would differ slightly from the mask of the same
    picture as a file. A net of z-scored input takes values of any range.

    Args:
        values: N x C x H x W, finite.
        description: Description of the net.

    Returns:
        N images H x W x C, uint8 or uint16 if they hold whole levels, otherwise float32 in 0..1.

    Raises:
        Problem: 400, for values or channels that the net does not take.
    """
    _check_channels(values.shape[1], description)
    low, high = float(values.min()), float(values.max())
    magnitude = max(high, -low)
    if not description.preprocessing.is_relative and (low < 0 or high > SCALES[-1]):
        raise bad_request("The values of input are 0..1, 0..255 or 0..65535.")
    scales = SCALES if low >= 0 else ()
    full = next((scale for scale in scales if magnitude <= scale), magnitude)
    return [_as_stored(image.transpose(1, 2, 0) / np.float32(full)) for image in values]


def _check_channels(given: int, description: Description) -> None:
    taken = description.architecture.in_channels
    accepted = (taken,) if description.preprocessing.channels == "stored" else (1, 3)
    if given not in accepted:
        raise bad_request(
            f"The second dimension of input is the channels: {' or '.join(map(str, accepted))}, not {given}."
        )


def _as_stored(image: NDArray[np.float32]) -> Values:
    if image.min() < 0:
        return image
    for dtype in (np.uint8, np.uint16):
        full = np.float32(FULL_SCALE[np.dtype(dtype)])
        levels = image * full
        whole = np.rint(levels)
        if np.abs(levels - whole).max() <= full * ROUNDING:
            stored: Values = whole.astype(dtype)
            return stored
    return image
