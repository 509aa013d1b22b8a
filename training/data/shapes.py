"""Shapes of a foreground: nets around islands, thin lines.

Shape letters: H height, W width.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

# A foreground is a net if it covers at most half of the label, this share of it is one piece, half as thick as the
# background, and it encloses this many islands that lie beside each other, close to the net. The membranes of a real
# section part about 100 islands, those of a crop of 128 x 128 about 9; cells would part 5 at most.
_NET_SHARE = 0.8
_ISLANDS = 8
_ISLAND_PIXELS = 64
# The largest island has at most this share of the background: a vessel tree lies in one large background.
_LARGEST_ISLAND = 0.5

# A foreground is thin if its pieces are on average this many times as long as wide. Measured: 129 to 1100 for retinal
# vessels, 22 to 320 for cracks, at most 9 for nuclei, polyps, cells between membranes and street scenes.
_LENGTH_PER_WIDTH = 14.0


def is_net(foreground: NDArray[np.bool_]) -> bool:
    """True if a foreground H x W is one thin connected net around many islands of background."""
    grid = np.ascontiguousarray(foreground).view(np.uint8)
    if not 0 < 2 * np.count_nonzero(foreground) <= foreground.size:
        return False
    parts, islands = _areas(grid, 8), _areas(1 - grid, 4)
    if parts.max() < _NET_SHARE * parts.sum() or np.count_nonzero(islands >= _ISLAND_PIXELS) < _ISLANDS:
        return False
    if islands.max() > _LARGEST_ISLAND * islands.sum():
        return False
    thickness, width = (cv2.distanceTransform(side, cv2.DIST_L2, 3) for side in (grid, 1 - grid))
    return bool(2 * thickness[foreground].mean() < width[~foreground].mean())


def is_thin(foreground: NDArray[np.bool_]) -> bool:
    """True if a foreground H x W is long narrow lines, such as vessels and cracks; False for an empty one."""
    length = int(np.count_nonzero(skeletonize(foreground)))
    if not length:
        return False
    pieces = cv2.connectedComponents(np.ascontiguousarray(foreground).view(np.uint8), connectivity=8)[0] - 1
    width = np.count_nonzero(foreground) / length
    return bool(length / pieces >= _LENGTH_PER_WIDTH * width)


def _areas(side: NDArray[np.uint8], connectivity: int) -> NDArray[np.int32]:
    _, _, stats, _ = cv2.connectedComponentsWithStats(side, connectivity=connectivity)
    areas: NDArray[np.int32] = stats[1:, cv2.CC_STAT_AREA].astype(np.int32)
    return areas
