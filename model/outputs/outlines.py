"""Outlines of objects along the edges of pixels, so that the area of an outline is the number of its pixels."""

import threading
from collections.abc import Iterator
from typing import TypeAlias

from rasterio.features import shapes

from model.outputs.objects import Ids

Ring: TypeAlias = list[tuple[float, float]]
"""Corners (x, y) in pixels from the image's top left corner; the last one is the first one again."""

Polygon: TypeAlias = list[Ring]
"""The outer outline, then those of holes. The outer one begins at the top left corner of its first pixel."""

# rasterio hides a warning about maps meanwhile, which Python does for the whole process and not for a thread.
_polygonising = threading.Lock()


def outline_objects(ids: Ids) -> Iterator[tuple[int, list[Polygon]]]:
    """Yields each object's id with a polygon for each of its 4-connected parts, in the order of the ids.

    Most objects are one part. The lines between objects that grew can cut off some pixels, which are other parts. The
    part that begins first, row by row, is the first one. x goes right and y down.

    Args:
        ids: H x W.
    """
    with _polygonising:
        outlined = list(shapes(ids, mask=ids > 0, connectivity=4))
    parts: dict[int, list[Polygon]] = {}
    for geometry, number in outlined:
        parts.setdefault(int(number), []).append(geometry["coordinates"])
    for number in sorted(parts):
        yield number, sorted(parts[number], key=lambda rings: rings[0][0][::-1])
