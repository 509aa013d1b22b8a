"""The narrow background between two objects: how much more it counts in the loss."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects
from skimage.measure import label as connected_components

SIGMA = 5.0  # pixels, as in the U-Net paper


def border_weights(label: NDArray[np.bool_], strength: float) -> NDArray[np.float32]:
    """H x W bool -> H x W float32 >= 1: 1 + strength * exp(-(d1 + d2)^2 / (2 sigma^2)) on the background, else 1.

    d1 and d2 are the distances to the nearest and the second nearest 4-connected object (Ronneberger et al. 2015,
    equation 2, without its class balance).
    """
    objects = connected_components(label, connectivity=1)
    nearest = np.full((2, *label.shape), np.inf)
    margin = int(4 * SIGMA)  # beyond it the weight is 1 for any eye
    for number, (rows, columns) in enumerate(find_objects(objects), start=1):
        window = tuple(slice(max(0, span.start - margin), span.stop + margin) for span in (rows, columns))
        distance = distance_transform_edt(objects[window] != number)
        known = nearest[(slice(None), *window)]
        nearest[(slice(None), *window)] = np.sort([*known, distance], axis=0)[:2]
    weights = 1 + strength * np.exp(-(nearest.sum(axis=0) ** 2) / (2 * SIGMA**2))
    weights[label] = 1
    return weights.astype(np.float32)
