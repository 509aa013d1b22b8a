"""The kinds of output: what is kept of each tile's probabilities, and the file that all of them become.

Shape letters: K classes, H height, W width.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import NDArray

from model.engines.engine import Array
from model.images import encode_png, encode_tiff, to_probability_image
from model.outputs.coco import annotations
from model.outputs.geojson import feature_collection
from model.outputs.objects import Ids, find_regions, thin_borders
from model.outputs.overlay import draw_overlay
from model.preprocessing import Pixels
from model.segmenter import Render, to_mask
from model.weights_file import Description

Output: TypeAlias = Literal["mask", "probability", "instances", "overlay", "geojson", "coco"]

OUTPUTS: tuple[Output, ...] = get_args(Output)

# As many as 16 bits tell apart.
MOST_OBJECTS = 65535


class OutputError(ValueError):
    """A result that its format cannot hold. The message is fit for the person who asked for it."""


@dataclass(frozen=True)
class Wanted:
    """What to make of an image, or of the pages of a stack.

    `threshold`: 0..1, None for the one stored with the weights. `class_index`: whose probability. `tiff`: a picture
    comes as TIFF even if it is a single page.
    """

    output: Output = "mask"
    threshold: float | None = None
    class_index: int = 0
    tiff: bool = False


@dataclass(frozen=True)
class File:
    """`suffix`: with its dot."""

    data: bytes
    media_type: str
    suffix: str


def renderer(wanted: Wanted, description: Description) -> Render:
    """What is kept of a tile: a class's probability (uint16, 65535 = 1.0), or the mask (uint8).

    Where borders are thinned, the mask and the relief for it: 2 x H x W. Tiles are rendered as they are computed, so a
    request never holds the probabilities of its whole image. What is given here can be pickled.
    """
    threshold = description.threshold if wanted.threshold is None else wanted.threshold
    if wanted.output == "probability":
        return partial(_probability, class_index=wanted.class_index)
    return partial(_mask_and_relief if _thins(wanted, description) else to_mask, threshold=threshold)


def to_file(
    wanted: Wanted, description: Description, images: Sequence[Pixels], rendered: Sequence[NDArray[Any]], stem: str
) -> File:
    """The file of what `renderer` kept of all pages; `images` are the pages as decoded. Raises OutputError."""
    if wanted.output == "geojson":
        outlines = [(find_regions(mask), mask) for mask in rendered]
        return _json(feature_collection(outlines, description.labels), "application/geo+json", ".geojson")
    if wanted.output == "coco":
        objects = [(_ids(wanted, description, page), _mask(page)) for page in rendered]
        return _json(annotations(objects, description.labels, stem), "application/json", ".json")
    pictures = [_picture(wanted, description, *page) for page in zip(images, rendered, strict=True)]
    if len(pictures) > 1 or wanted.tiff:
        return File(encode_tiff(pictures), "image/tiff", ".tif")
    return File(encode_png(pictures[0]), "image/png", ".png")


def _thins(wanted: Wanted, description: Description) -> bool:
    return description.objects == "interiors" and wanted.output in ("instances", "coco")


def _probability(probabilities: Array, class_index: int) -> NDArray[np.uint16]:
    return to_probability_image(probabilities[class_index])


def _mask_and_relief(probabilities: Array, threshold: float) -> NDArray[np.uint8]:
    return np.stack([to_mask(probabilities, threshold), _relief(probabilities)])


def _relief(probabilities: Array) -> NDArray[np.uint8]:
    """High where an object is unlikely, 255 = 1.0."""
    relief: NDArray[np.uint8] = np.rint((1 - probabilities[0]) * np.float32(255)).astype(np.uint8)
    return relief


def _mask(rendered: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return rendered[0] if rendered.ndim == 3 else rendered


def _ids(wanted: Wanted, description: Description, rendered: NDArray[np.uint8]) -> Ids:
    ids = find_regions(_mask(rendered))
    return thin_borders(ids, rendered[1]) if _thins(wanted, description) else ids


def _picture(wanted: Wanted, description: Description, image: Pixels, rendered: NDArray[Any]) -> Pixels:
    if wanted.output == "overlay":
        return draw_overlay(image, rendered)
    if wanted.output != "instances":
        return cast(Pixels, rendered)
    ids = _ids(wanted, description, rendered)
    if ids.max(initial=0) > MOST_OBJECTS:
        raise OutputError(f"There are {ids.max()} objects, more than the {MOST_OBJECTS} that 16 bits tell apart.")
    return ids.astype(np.uint16)


def _json(content: dict[str, Any], media_type: str, suffix: str) -> File:
    return File(json.dumps(content, separators=(",", ":")).encode(), media_type, suffix)
