"""Outlines of objects along the edges of pixels, so that the area of an outline is the number of its pixels."""

import threading
from collections.abc import Iterator
from typing import TypeAlias

from rasterio.features import shapes

from model.outputs.objects import Ids

Ring: TypeAlias = list[tuple[float, float]]
"""Corners (x, y) in pixels from the image's top left corner; the last one is the first one again."""

# rasterio hides a warning about maps meanwhile, which Python does for the whole process and not for a thread.
_polygonising = threading.Lock()


def outline_objects(ids: Ids) -> Iterator[tuple[int, list[Ring]]]:
    """Yields each object's id with its rings: the outer outline first, then those of its holes.

    x goes right and y down.

    Args:
        ids: H x W, 4-connected objects.
    """
    with _polygonising:
        outlined = list(shapes(ids, mask=ids > 0, connectivity=4))
    for geometry, number in outlined:
        yield int(number), geometry["coordinates"]
