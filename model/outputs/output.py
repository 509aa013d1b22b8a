"""The kinds of output: how each tile is rendered, and the file that the whole image becomes.

Shape letters: K classes, H height, W width.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import NDArray

from model.engines.engine import Array
from model.images.encoding import encode_png, encode_tiff, to_probability_image
from model.inputs.net_input import NetInput
from model.inputs.preprocessing import Pixels, Values
from model.outputs.coco import annotations
from model.outputs.geojson import feature_collection
from model.outputs.limits import MOST_OBJECTS, OutputError
from model.outputs.objects import Ids, ObjectRule, drop_specks, find_objects, mask_of, with_levels
from model.outputs.overlay import draw_overlay
from model.outputs.rois import to_rois
from model.outputs.table import measure_objects, to_csv
from model.segmenter import Render, to_mask
from model.weights_file import Description

Output: TypeAlias = Literal["mask", "probability", "instances", "overlay", "geojson", "coco", "table", "rois"]

OUTPUTS: tuple[Output, ...] = get_args(Output)


@dataclass(frozen=True)
class OutputSpec:
    """The output to make of an image, or of the pages of a stack.

    Attributes:
        output: Name of the output.
        threshold: 0..1; None for the one stored with the weights.
        class_index: The class whose probability is written.
        tiff: True to write a picture as TIFF even if it has one page.
        min_area: Objects with fewer pixels of the mask are dropped from every output but the probability; None for
            the number stored with the weights, which only outputs of objects drop.
    """

    output: Output = "mask"
    threshold: float | None = None
    class_index: int = 0
    tiff: bool = False
    min_area: int | None = None

    @property
    def measures(self) -> bool:
        """True if the output holds values of the image as its file stores them."""
        return self.output == "table"

    def object_rule(self, description: Description) -> ObjectRule:
        """Return the weights' rule, with the minimum area that was asked for."""
        rule = description.object_rule
        return rule if self.min_area is None else replace(rule, min_area=self.min_area)


@dataclass(frozen=True)
class File:
    """`suffix`: with its dot."""

    data: bytes
    media_type: str
    suffix: str


def renderer(output_spec: OutputSpec, description: Description) -> Render:
    """Return the function that keeps what an output needs of a tile. The function can be pickled.

    Tiles are rendered as they are computed, so a request never holds the probabilities of its whole image. A tile
    becomes one class's probability (uint16, 65535 = 1.0), the mask (uint8), or what `with_levels` keeps.
    """
    threshold = description.threshold if output_spec.threshold is None else output_spec.threshold
    if output_spec.output == "probability":
        return partial(_probability, class_index=output_spec.class_index)
    if output_spec.output == "mask":
        return partial(to_mask, threshold=threshold)
    return partial(_mask_and_levels, threshold=threshold, rule=output_spec.object_rule(description))


def to_file(
    output_spec: OutputSpec,
    description: Description,
    given: NetInput,
    rendered: Sequence[NDArray[Any]],
    name: str,
) -> File:
    """Encode what `renderer` kept of all pages.

    Args:
        output_spec: The output to make.
        description: The description of the weights that computed the probabilities.
        given: The pages as decoded.
        rendered: What `renderer` kept of each page.
        name: The image's file name.

    Raises:
        OutputError: The format cannot hold the result.
        ImageError: A channel that is only measured is broken.
    """
    rule, labels = output_spec.object_rule(description), description.labels
    match output_spec.output:
        case "geojson":
            return _json(feature_collection(to_objects(rule, rendered), labels, given), "geo+json", ".geojson")
        case "coco":
            return _json(annotations(to_objects(rule, rendered), labels, name), "json", ".json")
        case "table":
            table = measure_objects(countable(to_objects(rule, rendered)), labels, given)
            return File(to_csv(table), "text/csv", ".csv")
        case "rois":
            rois = to_rois(countable(to_objects(rule, rendered)), labels, given)
            return File(rois, "application/zip", ".zip")
    pictures = [to_picture(output_spec, rule, *page) for page in zip(given.pages, rendered, strict=True)]
    if len(pictures) > 1 or output_spec.tiff:
        return File(encode_tiff(pictures, given.places, given.pixel_size), "image/tiff", ".tif")
    return File(encode_png(pictures[0]), "image/png", ".png")


def _probability(probabilities: Array, class_index: int) -> NDArray[np.uint16]:
    return to_probability_image(probabilities[class_index])


def _mask_and_levels(probabilities: Array, threshold: float, rule: ObjectRule) -> NDArray[np.uint8]:
    return with_levels(to_mask(probabilities, threshold), probabilities[0], rule)


def to_objects(rule: ObjectRule, rendered: Sequence[NDArray[Any]]) -> list[tuple[Ids, NDArray[np.uint8]]]:
    """Return the ids and the mask of each page."""
    return [(find_objects(page, rule), mask_of(page)) for page in rendered]


def countable(pages: list[tuple[Ids, NDArray[np.uint8]]]) -> list[tuple[Ids, NDArray[np.uint8]]]:
    """Return the pages. Raises OutputError if they have too many objects."""
    count = sum(int(ids.max(initial=0)) for ids, _ in pages)
    if count > MOST_OBJECTS:
        raise OutputError(f"There are {count} objects, more than {MOST_OBJECTS}; min_area drops small ones.")
    return pages


def to_picture(output_spec: OutputSpec, rule: ObjectRule, image: Values, rendered: NDArray[Any]) -> Pixels:
    """Return the picture of a page. Raises OutputError if its objects have more ids than 16 bits hold."""
    if output_spec.output == "mask" and output_spec.min_area is not None:
        return drop_specks(rendered, rule)
    if output_spec.output in ("mask", "probability"):
        return cast(Pixels, rendered)
    ids = find_objects(rendered, rule)
    if output_spec.output == "overlay":
        return draw_overlay(image, ids, mask_of(rendered))
    if ids.max(initial=0) > MOST_OBJECTS:
        raise OutputError(f"There are {ids.max()} objects, more than the {MOST_OBJECTS} that 16 bits tell apart.")
    return ids.astype(np.uint16)


def _json(content: dict[str, Any], media_type: str, suffix: str) -> File:
    return File(
        json.dumps(content, separators=(",", ":"), allow_nan=False).encode(), f"application/{media_type}", suffix
    )
