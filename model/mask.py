"""From probabilities to a mask.

Shape letters: K classes, H height, W width.
"""

import numpy as np
from numpy.typing import NDArray


def to_mask(probabilities: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Thresholds probabilities, or picks the most probable class.

    Args:
        probabilities: K x H x W float32 in 0..1.
        threshold: The probability from which a pixel is foreground, 0..1; ignored if K > 1.

    Returns:
        H x W uint8. For one class 255 is foreground and 0 is background; for several classes the class index.
    """
    if probabilities.shape[0] > 1:
        index: NDArray[np.uint8] = probabilities.argmax(axis=0).astype(np.uint8)
        return index
    mask: NDArray[np.uint8] = (probabilities[0] >= np.float32(threshold)).view(np.uint8) * np.uint8(255)
    return mask
