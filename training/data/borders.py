"""Border weights: how much more the narrow background between two objects counts in the loss."""

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as connected_components
from skimage.measure import regionprops

SIGMA = 5.0  # pixels, as in the U-Net paper
# Pixels beyond which a second object adds nothing: the weight is 1 in float32.
_MARGIN = int(4 * SIGMA)
_FAR = np.float32(1e3)
_LEVELS = 255


def border_closeness(foreground: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns how close each background pixel is to two objects, H x W, from 0 (far) to 255; 0 on the foreground.

    The value is 255 * exp(-(d1 + d2)^2 / (2 sigma^2)), where d1 and d2 are the distances to the nearest and the second
    nearest 4-connected object (Ronneberger et al. 2015, equation 2, without its class balance). Touching objects of
    several classes are one object: only background separates objects.
    """
    objects = connected_components(foreground, connectivity=1)
    nearest, second = np.full((2, *foreground.shape), _FAR)
    for region in regionprops(objects):
        top, left, bottom, right = region.bbox
        window = (slice(max(0, top - _MARGIN), bottom + _MARGIN), slice(max(0, left - _MARGIN), right + _MARGIN))
        distance = _distance(objects[window] == region.label)
        np.minimum(second[window], np.maximum(nearest[window], distance), out=second[window])
        np.minimum(nearest[window], distance, out=nearest[window])
    closeness = np.exp(-np.square(nearest + second) / np.float32(2 * SIGMA**2))
    closeness[foreground] = 0
    quantised: NDArray[np.uint8] = np.rint(_LEVELS * closeness).astype(np.uint8)
    return quantised


def border_weights(closeness: NDArray[np.uint8], strength: float) -> NDArray[np.float32]:
    """Returns the weights of pixels in the loss, 1 to 1 + strength, from `border_closeness`."""
    return 1 + np.float32(strength / _LEVELS) * closeness.astype(np.float32)


def _distance(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Returns the distance of each pixel of a window to an object, in pixels."""
    distance = cv2.distanceTransform((~inside).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV's last bits depend on where in memory the label lies; squares of distances are whole numbers
    exact: NDArray[np.float32] = np.sqrt(np.rint(np.square(distance)))
    return exact
