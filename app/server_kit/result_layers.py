"""The layer of an answer: a mask or a probability as an array; boxes, points and polygons as GeoJSON."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeAlias

import numpy as np
import tifffile
from numpy.typing import NDArray

from app.server_kit.algorithm import KitOutput
from app.server_kit.array_pages import ArrayAxes, joined, place_of
from app.server_kit.layers import KitRequest
from app.server_kit.message_pack import pack
from model.inputs.net_input import NetInput
from model.outputs.geojson import feature_collection
from model.outputs.objects import Ids
from model.outputs.output import countable, to_objects, to_picture
from model.outputs.table import Table, measure_objects
from model.weights_file import Description

LayerData: TypeAlias = dict[str, Any]

_NO_TILE = {"tile_idx": 0, "n_tiles": 1, "first_tile": None, "last_tile": None, "overlap_px": None}


@dataclass(frozen=True)
class KitResult:
    """The results of a request's tasks, with all that a layer depends on.

    Attributes:
        request: The request.
        description: The net.
        given: The pages as decoded.
        axes: The axes of the image.
        rendered: What the render of `request.output_spec` kept of each page.
    """

    request: KitRequest
    description: Description
    given: NetInput
    axes: ArrayAxes
    rendered: Sequence[NDArray[Any]]

    def to_layer(self) -> LayerData:
        """Returns the layer that the request asks for. Raises OutputError: there are too many objects."""
        output = self.request.parameters.output
        if self.request.polygons and output in ("mask", "instances"):
            return self.layer("mask", self.polygons())
        return _MAKERS[output](self)

    def array(self) -> NDArray[Any]:
        """Returns the pictures of all pages, with the axes of the image."""
        spec = self.request.output_spec
        rule = spec.object_rule(self.description)
        pairs = zip(self.given.pages, self.rendered, strict=True)
        return joined([to_picture(spec, rule, image, rendered) for image, rendered in pairs], self.axes)

    def polygons(self) -> list[dict[str, Any]]:
        """Returns a GeoJSON feature for each object. Raises OutputError."""
        found: list[dict[str, Any]] = feature_collection(self._objects(), self.description.labels, self.given)[
            "features"
        ]
        return found

    def table(self) -> Table:
        """Returns the measurements of all objects. Raises OutputError."""
        return measure_objects(self._objects(), self.description.labels, self.given)

    def layer(self, kind: str, data: object, **meta: object) -> LayerData:
        """Returns a layer that is named by the net and the output."""
        name = f"{self.description.name} {self.request.parameters.output}"
        # clients place a layer without a position as the image, which has one axis more if it has colours
        place = {"position": [0] * (len(self.axes.leading) + 2)}
        return {"kind": kind, "name": name, "data": data, "meta": place | meta, "tile_meta": _NO_TILE}

    def _objects(self) -> list[tuple[Ids, NDArray[np.uint8]]]:
        return countable(to_objects(self.request.output_spec.object_rule(self.description), self.rendered))


def encode_layers(layers: Sequence[LayerData], as_stream: bool) -> bytes:
    """Returns layers as MessagePack, one after the other, or as a list in JSON."""
    if as_stream:
        return b"".join(map(pack, layers))
    return json.dumps(layers, separators=(",", ":")).encode()


def sample_layer(image: NDArray[Any]) -> LayerData:
    """Returns an image for the parameter `image`."""
    return {"kind": "image", "name": "image", "data": to_base64(image), "meta": {}, "tile_meta": _NO_TILE}


def to_base64(array: NDArray[Any]) -> str:
    """Returns the base64 of a TIFF file, from which tifffile reads an array of the same shape and type."""
    buffer = BytesIO()
    # otherwise tifffile stores three pages as colours; it refuses any choice for one row of values
    photometric = "minisblack" if array.ndim > 1 else None
    # tifffile decodes zlib without imagecodecs, which clients may lack
    tifffile.imwrite(buffer, array, photometric=photometric, compression="zlib", software=False)
    return base64.b64encode(buffer.getbuffer()).decode()


def _mask(result: KitResult) -> LayerData:
    return result.layer("mask", to_base64(result.array()))


def _instances(result: KitResult) -> LayerData:
    """Ids, with the measurements of the objects if there is one page: ids of several pages are not unique."""
    ids = result.array()
    measured = not result.axes.leading and ids.any()
    return result.layer("mask", to_base64(ids), **({"features": _columns(result.table())} if measured else {}))


def _probability(result: KitResult) -> LayerData:
    return result.layer("image", to_base64(result.array()))


def _boxes(result: KitResult) -> LayerData:
    """A polygon for each box; coordinates are in the order x, y, and the axes of the pages from the last one on."""
    columns = ("bbox_x_px", "bbox_y_px", "bbox_width_px", "bbox_height_px")
    rows = _rows(result, columns)
    boxes = [_feature("Polygon", [[[*corner, *place] for corner in _corners(*row)]]) for row, place in rows]
    return result.layer("boxes", boxes if boxes or result.request.polygons else None)


def _corners(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]


def _points(result: KitResult) -> LayerData:
    """Centroids. The centre of the first pixel is at 0 in arrays, and at 0.5 in QuPath."""
    rows = _rows(result, ("centroid_x_px", "centroid_y_px"))
    if result.request.polygons:
        return result.layer("points", [_feature("Point", [row]) for row, _ in rows])
    places = [[*reversed(place), y - 0.5, x - 0.5] for (x, y), place in rows]
    return result.layer("points", to_base64(np.array(places, np.float32)) if places else None)


def _rows(result: KitResult, columns: Sequence[str]) -> list[tuple[list[float], list[int]]]:
    """Returns values of each object, and the indices of its page on the axes of the pages, from the last one on."""
    table = result.table()
    values = zip(*(table[name].tolist() for name in columns), strict=True)
    places = [place_of(page, result.axes)[::-1] for page in table["page"].tolist()]
    return [(list(row), place) for row, place in zip(values, places, strict=True)]


def _feature(kind: str, coordinates: object) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": {}}


def _columns(table: Table) -> dict[str, Any]:
    """Returns the columns of a table of one page as plugins show them beside a mask."""
    return {name: _column(values) for name, values in table.items() if name != "page"}


def _column(values: NDArray[Any]) -> dict[str, Any]:
    if values.dtype.kind == "U":
        return {"__ndarray__": values.tolist(), "__dtype__": values.dtype.str}
    return {"__ndarray__": to_base64(values.astype(np.uint8) if values.dtype.kind == "b" else values)}


_MAKERS: dict[KitOutput, Callable[[KitResult], LayerData]] = {
    "mask": _mask,
    "instances": _instances,
    "boxes": _boxes,
    "points": _points,
    "probability": _probability,
}
