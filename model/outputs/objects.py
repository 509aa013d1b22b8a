"""Objects: how masks and probabilities become ids, for every output that shows, counts or outlines objects.

Shape letters: H height, W width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
"""H x W: 0 is background, 1, 2, ... are the objects, without gaps."""

Objects: TypeAlias = Literal["regions", "interiors", "seeds"]

FULL_LEVEL = 255
"""The level of probability 1.0."""

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
# Distances are compared in whole steps of 1/16 pixel, because the last bits of OpenCV's depend on memory addresses.
_STEPS = 16
# Standard deviation in pixels of the blur that removes the maxima of ragged outlines.
_BLUR = 1.0


@dataclass(frozen=True)
class ObjectRule:
    """The rule by which a mask becomes objects.

    Attributes:
        kind: "regions": connected components of the mask. "interiors": connected components of the mask, grown until
            lines of one pixel separate them. "seeds": connected components of the mask, split at necks.
        seed_depth: Pixels by which the distance to the background must fall between two seeds, see `split_regions`;
            used by "seeds", which splits nothing if it is None.
        min_area: Objects with fewer pixels of the mask are dropped.
    """

    kind: Objects = "regions"
    seed_depth: float | None = None
    min_area: int = 0


REGIONS = ObjectRule()


def with_levels(mask: NDArray[np.uint8], probabilities: NDArray[np.float32], rule: ObjectRule) -> NDArray[np.uint8]:
    """Keep what `find_objects` needs of a tile. Each pixel depends only on its own values.

    Args:
        mask: H x W, 0 = background.
        probabilities: H x W in 0..1, of the foreground.
        rule: How the mask becomes objects.

    Returns:
        2 x H x W if objects are interiors: the mask, and the probabilities in levels of 1/255. Otherwise the mask.
    """
    if rule.kind != "interiors":
        return mask
    return np.stack([mask, np.rint(probabilities * np.float32(FULL_LEVEL)).astype(np.uint8)])


def mask_of(kept: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mask, H x W, of what `with_levels` kept."""
    return kept[0] if kept.ndim == 3 else kept


def find_objects(kept: NDArray[np.uint8], rule: ObjectRule) -> Ids:
    """Turn a whole image, as `with_levels` kept it, into objects."""
    objects = _objects_of_mask(mask_of(kept), rule)
    return thin_borders(objects, FULL_LEVEL - kept[1]) if rule.kind == "interiors" else objects


def drop_specks(mask: NDArray[np.uint8], rule: ObjectRule) -> NDArray[np.uint8]:
    """Set the pixels of objects that are smaller than `rule.min_area` to background in a mask H x W."""
    return np.where(_objects_of_mask(mask, rule) > 0, mask, np.uint8(0))


def _objects_of_mask(mask: NDArray[np.uint8], rule: ObjectRule) -> Ids:
    """Return the objects within the mask, before any of them grows."""
    regions = find_regions(mask)
    if rule.kind == "seeds" and rule.seed_depth is not None:
        regions = split_regions(mask, regions, rule.seed_depth)
    return drop_small(regions, rule.min_area)


def find_regions(mask: NDArray[np.uint8]) -> Ids:
    """Label the 4-connected components of equal value in a mask H x W uint8, 0 = background."""
    ids = np.zeros(mask.shape, np.int32)
    found = 0
    for value in np.unique(mask[mask > 0]):
        count, regions = cv2.connectedComponents((mask == value).view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
        ids += np.where(regions > 0, regions + np.int32(found), np.int32(0))
        found += count - 1
    return ids


def split_regions(mask: NDArray[np.uint8], regions: Ids, seed_depth: float) -> Ids:
    """Split regions at their necks, by a watershed on the distance to the background.

    The seeds are the maxima of the blurred distance that are at least `seed_depth` higher than the highest pass to a
    higher maximum. A region with one seed or none is one object, so the objects cover exactly the mask.

    Args:
        mask: H x W, 0 = background.
        regions: H x W, the 4-connected components of the mask.
        seed_depth: Pixels.
    """
    height = _distance(mask)
    parts, count = regions.copy(), int(regions.max(initial=0))
    for index, window in _regions_with_several_maxima(regions, height):
        inside = regions[window] == index
        pieces = _split_one(np.where(inside, height[window], 0), inside, max(1, round(seed_depth * _STEPS)))
        new = pieces > 1  # the first piece keeps the region's id
        parts[window][new] = pieces[new] - 1 + count
        count += max(0, int(pieces.max()) - 1)
    return parts


def drop_small(ids: Ids, min_area: int) -> Ids:
    """Remove objects with fewer than `min_area` pixels and renumber the others without gaps."""
    if min_area <= 1:
        return ids
    kept = np.bincount(ids.ravel()) >= min_area
    kept[0] = False
    numbers = np.cumsum(kept, dtype=np.int32)
    return np.where(kept, numbers, np.int32(0))[ids]


def _distance(mask: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the blurred distance to the background, H x W, in steps of 1/16 pixel."""
    distance = cv2.distanceTransform((mask > 0).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    steps = np.minimum(np.rint(distance * np.float32(_STEPS)), np.iinfo(np.uint16).max).astype(np.uint16)
    blurred: NDArray[np.uint16] = cv2.GaussianBlur(steps, (0, 0), _BLUR)
    return blurred


def _regions_with_several_maxima(regions: Ids, height: NDArray[np.uint16]) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Yield the index and the window of each region that a split is possible in; most regions have one maximum."""
    from scipy.ndimage import find_objects as find_windows  # imported on first use because the import takes long

    highest = (cv2.dilate(height, _CROSS) == height) & (regions > 0)
    count, maxima = cv2.connectedComponents(highest.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    region_of_maximum = np.zeros(count, np.int32)
    region_of_maximum[maxima[highest]] = regions[highest]
    maxima_of_region = np.bincount(region_of_maximum[1:])
    several = np.flatnonzero(maxima_of_region > 1)
    if len(several):
        windows = find_windows(regions)
        yield from ((int(index), windows[index - 1]) for index in several)


def _split_one(height: NDArray[np.uint16], inside: NDArray[np.bool_], depth: int) -> Ids:
    """Split one region, `inside`: 1, 2, ... for its parts, 0 outside."""
    from skimage.morphology import reconstruction
    from skimage.segmentation import watershed

    heights = height.astype(np.int32)
    filled = reconstruction(np.maximum(heights - depth, 0), heights, footprint=_CROSS).astype(np.int32)
    domes = find_regions((heights > filled).view(np.uint8))
    is_seed = np.zeros(int(domes.max(initial=0)) + 1, np.bool_)
    is_seed[domes[heights - filled == depth]] = True
    is_seed[0] = False
    if np.count_nonzero(is_seed) < 2:
        return inside.astype(np.int32)
    seeds = np.where(is_seed, np.cumsum(is_seed), 0)[domes]
    parts: Ids = watershed(-heights, seeds, connectivity=1, mask=inside).astype(np.int32)
    return parts


def thin_borders(ids: Ids, relief: NDArray[Any]) -> Ids:
    """Grow objects by a watershed until 4-connected lines of one pixel separate them; only the lines remain 0.

    Args:
        ids: H x W, the objects to grow. Without objects nothing grows.
        relief: H x W, flooded from its lowest values up, so that the lines run where it is highest.
    """
    from skimage.segmentation import watershed  # imported on first use because the import takes a second

    if not ids.any():
        return ids
    grown: Ids = watershed(relief, ids, connectivity=1, watershed_line=True)
    return grown


def class_of_each(ids: Ids, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mask's value in each object, indexed by id; 0 for id 0. The ids must come from this mask."""
    values = np.zeros(int(ids.max(initial=0)) + 1, np.uint8)
    found = mask > 0
    values[ids[found]] = mask[found]
    values[0] = 0
    return values
