"""The narrow background between two objects: how much more it counts in the loss."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.measure import label as connected_components
from skimage.measure import regionprops

SIGMA = 5.0  # pixels, as in the U-Net paper


def border_weights(foreground: NDArray[np.bool_], strength: float) -> NDArray[np.float32]:
    """H x W bool -> H x W float32 >= 1: 1 + strength * exp(-(d1 + d2)^2 / (2 sigma^2)) on the background, else 1.

    d1 and d2 are the distances to the nearest and the second nearest 4-connected object (Ronneberger et al. 2015,
    equation 2, without its class balance). Of several classes, what touches is one object: only background parts two.
    """
    objects = connected_components(foreground, connectivity=1)
    nearest = np.full((2, *foreground.shape), np.inf, np.float32)
    margin = int(4 * SIGMA)  # beyond it the weight is 1 to any eye
    for region in regionprops(objects):
        top, left, bottom, right = region.bbox
        window = (slice(max(0, top - margin), bottom + margin), slice(max(0, left - margin), right + margin))
        # not OpenCV's: on Intel chips its last bits depend on where in memory the label lies
        distance = distance_transform_edt(objects[window] != region.label).astype(np.float32)
        known = nearest[(slice(None), *window)]
        nearest[(slice(None), *window)] = np.sort([*known, distance], axis=0)[:2]
    weights: NDArray[np.float32] = 1 + np.float32(strength) * np.exp(-np.square(nearest.sum(axis=0)) / (2 * SIGMA**2))
    weights[foreground] = 1
    return weights
