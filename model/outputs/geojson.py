"""Objects as GeoJSON polygons in pixel coordinates, as QuPath opens them."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.inputs.net_input import NetInput
from model.outputs.colours import colour
from model.outputs.objects import Ids, class_of_each
from model.outputs.outlines import outline_objects

_NAMESPACE = uuid.UUID("5f3b7a4e-6d0c-4e5e-9c55-0d1f1c9a6b21")


def feature_collection(
    pages: Sequence[tuple[Ids, NDArray[np.uint8]]], labels: Mapping[int, str], given: NetInput
) -> dict[str, Any]:
    """Returns a FeatureCollection with a polygon for each object, or several for an object in parts.

    x goes right and y down, in pixels from the image's top left corner; outlines run along the edges of pixels, so a
    polygon's area is the number of its pixels. With several pages each feature has its `page`, from 0, and the plane
    that QuPath shows it on. If the size of a pixel is known, each feature also has its area in square micrometres.

    A feature's `id` is a UUID, which QuPath keeps. Its `measurements` are what QuPath shows and exports.

    Args:
        pages: Ids and mask of each page.
        labels: The meaning of the mask's values.
        given: The pages as decoded.
    """
    size = given.pixel_size
    features = []
    for index, (ids, mask) in enumerate(pages):
        plane = _plane(given, index) if len(pages) > 1 else None
        for feature in _features(ids, mask, labels, index):
            properties = feature["properties"]
            if size:
                properties["area_um2"] = properties["area"] * size.x * size.y
                properties["measurements"]["Area \u00b5m^2"] = properties["area_um2"]
            if plane:
                properties["page"] = index
                feature["geometry"]["plane"] = plane
            features.append(feature)
    return {"type": "FeatureCollection", "features": features}


def _plane(given: NetInput, page: int) -> dict[str, int]:
    """QuPath's plane of a page; -1 stands for all channels."""
    channel = -1 if given.channel is None else given.channel
    section, time = (given.places[page].z, given.places[page].t) if given.places else (page, 0)
    return {"c": channel, "z": section, "t": time}


def _features(ids: Ids, mask: NDArray[np.uint8], labels: Mapping[int, str], page: int) -> Iterator[dict[str, Any]]:
    values = class_of_each(ids, mask)
    areas = np.bincount(ids.ravel())
    for index, polygons in outline_objects(ids):
        value, area = int(values[index]), int(areas[index])
        properties: dict[str, Any] = {
            "objectType": "annotation",
            "object_id": index,
            "area": area,
            "classification": {"name": labels.get(value, str(value)), "color": list(colour(value))},
            "measurements": {"Area px^2": area},
        }
        geometry: dict[str, Any] = {"type": "Polygon", "coordinates": polygons[0]}
        if len(polygons) > 1:
            geometry = {"type": "MultiPolygon", "coordinates": polygons}
        # made from the object, so that the same request gives the same ids
        identity = uuid.uuid5(_NAMESPACE, f"{page} {index} {area} {polygons[0][0][0]}")
        yield {"type": "Feature", "id": str(identity), "geometry": geometry, "properties": properties}
