"""Objects: how masks and probabilities become ids, for every output that shows, counts or outlines objects.

Shape letters: H height, W width.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
"""H x W: 0 is background, 1, 2, ... are the objects, without gaps."""

Objects: TypeAlias = Literal["regions", "interiors", "seeds"]

FULL_LEVEL = 255
"""The level of probability 1.0."""


@dataclass(frozen=True)
class ObjectRule:
    """How a mask becomes objects.

    Attributes:
        kind: "regions": connected components of the mask. "interiors": connected components of the mask, grown until
            lines of one pixel separate them. "seeds": connected components of the mask, split where they hold several
            seeds.
        seed_threshold: Probability from which a pixel belongs to a seed; used by "seeds", which splits nothing if it
            is None.
    """

    kind: Objects = "regions"
    seed_threshold: float | None = None


REGIONS = ObjectRule()


def with_levels(mask: NDArray[np.uint8], probabilities: NDArray[np.float32], rule: ObjectRule) -> NDArray[np.uint8]:
    """Keep what `find_objects` needs of a tile. Each pixel depends only on its own values.

    Args:
        mask: H x W, 0 = background.
        probabilities: H x W in 0..1, of the foreground.
        rule: How the mask becomes objects.

    Returns:
        The mask if objects are regions of the mask. Otherwise 2 x H x W: the mask, and the probabilities in levels of
        1/255.
    """
    if rule.kind == "regions":
        return mask
    return np.stack([mask, np.rint(probabilities * np.float32(FULL_LEVEL)).astype(np.uint8)])


def mask_of(kept: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mask, H x W, of what `with_levels` kept."""
    return kept[0] if kept.ndim == 3 else kept


def find_objects(kept: NDArray[np.uint8], rule: ObjectRule) -> Ids:
    """Turn a whole image, as `with_levels` kept it, into objects."""
    mask = mask_of(kept)
    if rule.kind == "interiors":
        return thin_borders(find_regions(mask), FULL_LEVEL - kept[1])
    if rule.kind == "seeds" and rule.seed_threshold is not None:
        return split_regions(mask, kept[1], rule.seed_threshold)
    return find_regions(mask)


def find_regions(mask: NDArray[np.uint8]) -> Ids:
    """Label the 4-connected components of equal value in a mask H x W uint8, 0 = background."""
    ids = np.zeros(mask.shape, np.int32)
    found = 0
    for value in np.unique(mask[mask > 0]):
        count, regions = cv2.connectedComponents((mask == value).view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
        ids += np.where(regions > 0, regions + np.int32(found), np.int32(0))
        found += count - 1
    return ids


def split_regions(mask: NDArray[np.uint8], levels: NDArray[np.uint8], seed_threshold: float) -> Ids:
    """Split each region of the mask that holds several seeds, by a watershed from the seeds.

    A seed is a 4-connected component of the pixels in the mask whose probability reaches `seed_threshold`. A region
    with one seed or none is one object, so the objects cover exactly the mask.

    Args:
        mask: H x W uint8, 0 = background.
        levels: H x W uint8, the foreground's probability in levels of 1/255.
        seed_threshold: Probability, 0..1; compared after rounding to a level.
    """
    from skimage.segmentation import watershed  # imported on first use because the import takes a second

    regions = find_regions(mask)
    seeds = find_regions(np.where(levels >= ceil(seed_threshold * FULL_LEVEL - 0.5), mask, np.uint8(0)))
    region_of_seed = np.zeros(int(seeds.max(initial=0)) + 1, np.int32)
    region_of_seed[seeds] = regions
    count = int(regions.max(initial=0)) + 1
    several = np.bincount(region_of_seed[1:], minlength=count) > 1
    if not several.any():
        return regions
    contested = several[regions]
    parts = watershed(FULL_LEVEL - levels, np.where(contested, seeds, 0), connectivity=1, mask=contested)
    return _without_gaps(np.where(contested, parts + np.int32(count), regions))


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


def _without_gaps(ids: NDArray[np.int32]) -> Ids:
    """Renumber ids so that 1, 2, ... are all used; 0 stays 0."""
    used = np.bincount(ids.ravel()) > 0
    used[0] = False
    numbers: Ids = np.cumsum(used, dtype=np.int32)
    return numbers[ids]
