"""Objects as GeoJSON polygons in pixel coordinates, as QuPath opens them."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import shapes

from model.net_input import NetInput
from model.outputs.colours import colour
from model.outputs.objects import Ids, class_of_each

# rasterio hides a warning about maps meanwhile, which Python does for the whole process and not for a thread.
_polygonising = threading.Lock()


def feature_collection(
    pages: Sequence[tuple[Ids, NDArray[np.uint8]]], labels: Mapping[int, str], given: NetInput
) -> dict[str, Any]:
    """Returns a FeatureCollection with a polygon for each object.

    x goes right and y down, in pixels from the image's top left corner; outlines run along the edges of pixels, so a
    polygon's area is the number of its pixels. With several pages each feature has its `page`, from 0, and the plane
    that QuPath shows it on. If the size of a pixel is known, each feature also has its area in square micrometres.

    Args:
        pages: Ids and mask of each page.
        labels: The meaning of the mask's values.
        given: The pages as decoded.
    """
    size = given.pixel_size
    features = []
    for index, (ids, mask) in enumerate(pages):
        plane = _plane(given, index) if len(pages) > 1 else None
        for feature in _features(ids, mask, labels):
            if size:
                feature["properties"]["area_um2"] = feature["properties"]["area"] * size.x * size.y
            if plane:
                feature["properties"]["page"] = index
                feature["geometry"]["plane"] = plane
            features.append(feature)
    return {"type": "FeatureCollection", "features": features}


def _plane(given: NetInput, page: int) -> dict[str, int]:
    """QuPath's plane of a page; -1 stands for all channels."""
    channel = -1 if given.channel is None else given.channel
    section, time = (given.places[page].z, given.places[page].t) if given.places else (page, 0)
    return {"c": channel, "z": section, "t": time}


def _features(ids: Ids, mask: NDArray[np.uint8], labels: Mapping[int, str]) -> list[dict[str, Any]]:
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
        found.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return found
