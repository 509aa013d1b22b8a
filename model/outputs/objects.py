"""Objects: the connected regions of a mask, each with an id.

Shape letters: H height, W width.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
"""H x W: 0 is background, 1, 2, ... are the objects, without gaps."""


def find_regions(mask: NDArray[np.uint8]) -> Ids:
    """H x W uint8, 0 = background -> the 4-connected regions of equal value."""
    ids = np.zeros(mask.shape, np.int32)
    found = 0
    for value in np.unique(mask[mask > 0]):
        count, regions = cv2.connectedComponents((mask == value).view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
        ids += np.where(regions > 0, regions + np.int32(found), np.int32(0))
        found += count - 1
    return ids


def thin_borders(ids: Ids, relief: NDArray[Any]) -> Ids:
    """Grows the objects by a watershed until 4-connected lines of one pixel part them; 0 is left on the lines alone.

    `relief`, H x W: flooded from its lowest values up, so that lines run where it is highest. Without objects nothing
    grows.
    """
    from skimage.segmentation import watershed  # not at the start: it takes a second

    if not ids.any():
        return ids
    grown: Ids = watershed(relief, ids, connectivity=1, watershed_line=True)
    return grown


def class_of_each(ids: Ids, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask's value in each object, by id; 0 for id 0. `mask`: what the ids were found in."""
    values = np.zeros(int(ids.max(initial=0)) + 1, np.uint8)
    found = mask > 0
    values[ids[found]] = mask[found]
    return values
