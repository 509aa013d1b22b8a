"""Polygons and run lengths as labels: COCO annotation files, and GeoJSON as QuPath writes it.

Shape letters: H height, W width.
"""

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths
from rasterio.features import is_valid_geom, rasterize

from training.data.labels.stored_label import LabelError, StoredLabel, Values

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Coco:
    """The contents of a COCO annotation file.

    Attributes:
        path: The file.
        categories: Names of the categories that have annotations, in the order of their ids.
        images: Image records by file name.
        annotations: Annotations by image id.
    """

    path: Path
    categories: tuple[str, ...]
    images: dict[str, dict[str, Any]]
    annotations: dict[Any, list[dict[str, Any]]] = field(repr=False)
    order: dict[Any, int] = field(repr=False)

    def label(self, file_name: str, height: int, width: int) -> StoredLabel:
        """The label H x W of an image: class indices if there are several categories, else object ids.

        Raises LabelError for an image of another size, and for annotations that are no polygons or run lengths.
        """
        record = self.images[file_name]
        stated = record.get("width", width), record.get("height", height)
        if stated != (width, height):
            raise LabelError(f"{file_name}: {stated[0]} x {stated[1]} pixels, its image has {width} x {height}")
        annotations = self.annotations.get(record.get("id"), [])
        crowds = [_coco_mask(each, height, width) for each in annotations if each.get("iscrowd")]
        plain = [each for each in annotations if not each.get("iscrowd")]
        masks = (_coco_mask(each, height, width) for each in plain)
        places = [self.order[each.get("category_id")] for each in plain]
        return paint(masks, (height, width), places, self.categories, np.logical_or.reduce(crowds) if crowds else None)


def read_coco(path: Path) -> Coco | None:
    """The annotations in a JSON file; None if the file has no "images" and "annotations".

    Raises LabelError if the JSON is damaged, or if its annotations are not as COCO defines them.
    """
    contents = _read_json(path)
    if not isinstance(contents, dict) or not {"images", "annotations"} <= contents.keys():
        return None
    try:
        names = {each["id"]: str(each["name"]) for each in contents.get("categories", [])}
        images = {str(each["file_name"]): each for each in contents["images"]}
        annotations: dict[Any, list[dict[str, Any]]] = {each["id"]: [] for each in images.values()}
        for each in contents["annotations"]:
            annotations.setdefault(each["image_id"], []).append(each)
        used = sorted(
            {each.get("category_id") for each in contents["annotations"]}, key=lambda key: (str(type(key)), key)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise LabelError(f"the COCO annotations are incomplete ({error})") from error
    order = {category: place for place, category in enumerate(used, start=1)}
    return Coco(path, tuple(names.get(key, f"category {key}") for key in used), images, annotations, order)


def _coco_mask(annotation: dict[str, Any], height: int, width: int) -> Mask:
    """H x W. Raises LabelError."""
    shape = annotation.get("segmentation")
    try:
        if isinstance(shape, list):
            encoded = run_lengths.merge(run_lengths.frPyObjects(shape, height, width))
        elif isinstance(shape, dict) and isinstance(shape["counts"], list):
            encoded = run_lengths.frPyObjects(shape, height, width)
        else:
            encoded = shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools 2.0.11 with NumPy 2
            mask: Mask = run_lengths.decode(encoded).astype(np.bool_)
    except Exception as error:  # pycocotools raises nearly anything, bare Exception among it
        raise LabelError(f"annotation {annotation.get('id')}: its segmentation cannot be read") from error
    if mask.shape != (height, width):
        raise LabelError(
            f"annotation {annotation.get('id')}: {mask.shape[1]} x {mask.shape[0]} pixels, "
            f"its image has {width} x {height}"
        )
    return mask


def class_names(files: Iterable[Path]) -> tuple[str, ...]:
    """The classes that the features of GeoJSON files name, sorted. Raises LabelError."""
    return tuple(sorted({name for path in files for feature in _features(path) if (name := _class_of(feature))}))


def read_geojson(path: Path, height: int, width: int, names: Sequence[str]) -> StoredLabel:
    """The polygons of a GeoJSON file as a label H x W: class indices for two or more `names`, else object ids.

    Coordinates are pixels. A feature without a class belongs to the background if there are classes.
    Raises LabelError for anything but polygons.
    """
    features = [feature for feature in _features(path) if len(names) < 2 or _class_of(feature)]
    masks = (_polygon_mask(feature, height, width) for feature in features)
    places = [names.index(name) + 1 if (name := _class_of(feature)) else 1 for feature in features]
    return paint(masks, (height, width), places, names)


def paint(
    masks: Iterable[Mask],
    size: tuple[int, int],
    places: Sequence[int] = (),
    names: Sequence[str] = (),
    ignored: Mask | None = None,
) -> StoredLabel:
    """One label of the masks of objects, where a smaller object lies on top of a larger one.

    Args:
        masks: H x W each, one per object.
        size: (H, W).
        places: The class of each object, from 1 on; unused if there are fewer than two names.
        names: Names of the classes 1, 2 ...
        ignored: H x W, pixels outside all objects that the label says nothing about.

    Returns:
        Object ids 1, 2 ... in the order of the masks, or class indices if there are two or more names.
    """
    values: Values = np.zeros(size, np.int32)
    if ignored is not None:
        values[ignored] = -1
    claims = np.zeros(size, np.uint16)
    # only the box around each object, because hundreds of masks of a large image do not fit into memory
    objects = [_cropped(mask) for mask in masks]
    areas = [int(crop.sum()) for _, crop in objects]
    classes = len(names) > 1
    for place in sorted(range(len(objects)), key=lambda place: -areas[place]):
        box, crop = objects[place]
        values[box][crop] = places[place] if classes else place + 1
        claims[box] += crop
    overlap = int(np.count_nonzero(claims > 1))
    kinds = ("background", *names) if classes else ()
    return StoredLabel(values, 32, objects=not classes, names=kinds, overlap=overlap)


def _cropped(mask: Mask) -> tuple[tuple[slice, slice], Mask]:
    """The box around the True pixels of a mask, and the mask inside the box."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return (slice(0, 0), slice(0, 0)), mask[:0, :0]
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return box, mask[box].copy()


def _features(path: Path) -> list[dict[str, Any]]:
    """The features of a FeatureCollection, a bare list or a single feature. Raises LabelError."""
    contents = _read_json(path)
    if isinstance(contents, dict):
        contents = contents.get("features", [contents])
    if not isinstance(contents, list) or not all(isinstance(each, dict) and "geometry" in each for each in contents):
        raise LabelError("this is not GeoJSON: a FeatureCollection or a list of features is expected")
    return contents


def _class_of(feature: dict[str, Any]) -> str:
    """The class that QuPath's `classification` names, or ""."""
    properties = feature.get("properties")
    named = properties.get("classification") if isinstance(properties, dict) else None
    return str(named.get("name") or "") if isinstance(named, dict) else str(named or "")


def _polygon_mask(feature: dict[str, Any], height: int, width: int) -> Mask:
    """H x W, True for pixels whose centre is inside the polygon and outside its holes. Raises LabelError."""
    geometry = feature["geometry"]
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise LabelError(f"a feature of type {kind}; Polygon or MultiPolygon is expected")
    if not isinstance(geometry.get("coordinates"), list) or not is_valid_geom(geometry):
        raise LabelError("a polygon whose coordinates cannot be read")
    return np.asarray(rasterize([(geometry, 1)], out_shape=(height, width), dtype=np.uint8)).astype(np.bool_)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise LabelError("the JSON is damaged") from error
