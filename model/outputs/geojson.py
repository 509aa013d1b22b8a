"""Objects as GeoJSON polygons in pixel coordinates, as QuPath opens them."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import shapes

from model.outputs.colours import colour
from model.outputs.objects import Ids, class_of_each

# rasterio hides a warning about maps meanwhile, which Python does for the whole process and not for a thread.
_polygonising = threading.Lock()


def feature_collection(pages: Sequence[tuple[Ids, NDArray[np.uint8]]], labels: Mapping[int, str]) -> dict[str, Any]:
    """A FeatureCollection with a polygon an object. `pages`: ids and mask of each; `labels`: what mask values mean.

    x goes right and y down, in pixels from the image's top left corner; outlines run along the edges of pixels, so a
    polygon's area is the number of its pixels. With several pages each feature has its `page`, from 0, and a z plane.
    """
    features = [
        feature
        for page, (ids, mask) in enumerate(pages)
        for feature in _features(ids, mask, labels, page if len(pages) > 1 else None)
    ]
    return {"type": "FeatureCollection", "features": features}


def _features(ids: Ids, mask: NDArray[np.uint8], labels: Mapping[int, str], page: int | None) -> list[dict[str, Any]]:
    values = class_of_each(ids, mask)
    areas = np.bincount(ids.ravel())
    found = []
    with _polygonising:
        outlines = list(shapes(ids, mask=ids > 0, connectivity=4))
    for geometry, number in outlines:
        index = int(number)
        value = int(values[index])
        properties: dict[str, Any] = {
            "objectType": "annotation",
            "object_id": index,
            "area": int(areas[index]),
            "classification": {"name": labels.get(value, str(value)), "color": list(colour(value))},
        }
        if page is not None:
            properties["page"] = page
            geometry["plane"] = {"c": -1, "z": page, "t": 0}
        found.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return found
