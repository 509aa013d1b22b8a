import json
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from rasterio.features import rasterize

from model.engines.engine import Array
from model.images.decoding import decode_image, decode_pages
from model.inputs.net_input import NetInput
from model.inputs.preprocessing import Pixels
from model.outputs.limits import MOST_OBJECTS, OutputError
from model.outputs.objects import Objects, find_regions
from model.outputs.output import OUTPUTS, File, Output, OutputSpec, renderer, to_file
from model.outputs.overlay import draw_overlay
from model.segmenter import Segmenter
from model.weights_file import Description

# pycocotools hands numpy arrays of the kind before numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

THREE_CLASSES = np.array([[[0.5, 0.1]], [[0.3, 0.2]], [[0.2, 0.7]]], np.float32)


def segment(segmenter: Segmenter, images: Sequence[Pixels], output_spec: OutputSpec, stem: str) -> File:
    render = renderer(output_spec, segmenter.description)
    rendered = [segmenter.render(image, render) for image in images]
    return to_file(output_spec, segmenter.description, NetInput(images), rendered, stem)


@pytest.fixture
def one_class() -> Array:
    return np.array([[[0.0, 0.25, 0.5], [0.75, 0.999, 1.0]]], np.float32)


@pytest.fixture
def description(make_net: Callable[..., Any], describe: Callable[..., Description]) -> Description:
    return describe(make_net(), threshold=0.5)


@pytest.fixture
def segmenter(make_net: Callable[..., Any], make_segmenter: Callable[..., Segmenter]) -> Segmenter:
    """Of a net whose background is borders."""
    return make_segmenter(make_net(depth=2), threshold=0.45, objects="interiors")


@pytest.mark.parametrize(("threshold", "foreground"), [(0.2, 5), (None, 4), (0.5001, 3), (0.9999, 1)])
def test_a_mask_is_255_from_the_threshold_on(
    one_class: Array, description: Description, threshold: float | None, foreground: int
):
    mask = renderer(OutputSpec(threshold=threshold), description)(one_class)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, np.where(one_class[0] >= (threshold or 0.5), 255, 0))
    assert (mask == 255).sum() == foreground


def test_a_probability_is_scaled_to_16_bits_and_rounded(one_class: Array, description: Description):
    image = renderer(OutputSpec("probability"), description)(one_class)
    assert image.dtype == np.uint16
    assert image.tolist() == [[0, 16384, 32768], [49151, 65469, 65535]]


def test_a_class_mask_is_the_index_of_the_most_probable_class(description: Description):
    assert renderer(OutputSpec(), description)(THREE_CLASSES).tolist() == [[0, 2]]


@pytest.mark.parametrize(("class_index", "expected"), [(0, [[32768, 6554]]), (2, [[13107, 45874]])])
def test_a_probability_is_that_of_the_class_asked_for(
    description: Description, class_index: int, expected: list[list[int]]
):
    assert renderer(OutputSpec("probability", class_index=class_index), description)(THREE_CLASSES).tolist() == expected


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("objects", get_args(Objects))
def test_kept_results_are_as_large_as_the_probabilities(output: Output, objects: str, description: Description):
    described = description.model_copy(update={"objects": objects})
    assert renderer(OutputSpec(output), described)(np.zeros((1, 3, 11), np.float32)).shape[-2:] == (3, 11)


def test_instance_labels_of_membranes_get_thin_borders(segmenter: Segmenter, make_image: Callable[..., Pixels]):
    image = make_image(60, 80)
    mask = decode_image(segment(segmenter, [image], OutputSpec(), "x").data)
    ids = decode_image(segment(segmenter, [image], OutputSpec("instances"), "x").data)
    regions = find_regions(mask)  # type: ignore[arg-type]
    assert ids.dtype == np.uint16
    assert ids.max() == regions.max() > 1
    assert np.array_equal(ids[mask > 0], regions[mask > 0])
    assert (ids > 0).mean() > (mask > 0).mean()


def test_instances_are_plain_regions_elsewhere(
    make_net: Callable[..., Any], make_segmenter: Callable[..., Segmenter], make_image: Callable[..., Pixels]
):
    segmenter, image = make_segmenter(make_net(depth=2), threshold=0.45), make_image(60, 80)
    mask = segmenter.mask(image)
    ids = decode_image(segment(segmenter, [image], OutputSpec("instances"), "x").data)
    assert np.array_equal(ids, find_regions(mask))


@pytest.mark.parametrize(
    "fields", [{"objects": "regions"}, {"objects": "interiors"}, {"objects": "seeds", "seed_depth": 0.5, "min_area": 4}]
)
def test_instances_coco_and_geojson_hold_the_same_objects(
    fields: dict[str, Any],
    make_net: Callable[..., Any],
    make_segmenter: Callable[..., Segmenter],
    make_image: Callable[..., Pixels],
):
    segmenter, image = make_segmenter(make_net(depth=2), threshold=0.45, **fields), make_image(60, 80)
    ids = decode_image(segment(segmenter, [image], OutputSpec("instances"), "x").data)
    coco = segment(segmenter, [image], OutputSpec("coco"), "cells")
    geojson = segment(segmenter, [image], OutputSpec("geojson"), "cells")
    assert (coco.media_type, coco.suffix) == ("application/json", ".json")
    assert (geojson.media_type, geojson.suffix) == ("application/geo+json", ".geojson")
    found, features = json.loads(coco.data), json.loads(geojson.data)["features"]
    assert found["images"][0]["file_name"] == "cells"
    outlined = [(feature["geometry"], feature["properties"]["object_id"]) for feature in features]
    assert np.array_equal(rasterize(outlined, ids.shape), ids)
    masks = np.zeros(ids.shape, np.uint16)
    for each in found["annotations"]:
        masks[coco_mask.decode(each["segmentation"]) > 0] = each["id"]
    assert np.array_equal(masks, ids)
    areas = np.bincount(ids.ravel())[1:].tolist()
    assert [each["area"] for each in found["annotations"]] == areas
    assert {f["properties"]["object_id"]: f["properties"]["area"] for f in features} == dict(enumerate(areas, 1))


def test_overlay_outlines_the_instances(segmenter: Segmenter, make_image: Callable[..., Pixels]):
    image = make_image(60, 80)
    ids = decode_image(segment(segmenter, [image], OutputSpec("instances"), "x").data).astype(np.int32)
    overlay = decode_image(segment(segmenter, [image], OutputSpec("overlay"), "x").data)
    assert np.array_equal(overlay, draw_overlay(image, ids, np.where(ids > 0, 255, 0).astype(np.uint8)))


@pytest.mark.parametrize("output", ["mask", "probability", "instances", "overlay"])
def test_a_stack_comes_back_page_by_page(output: Output, segmenter: Segmenter, make_image: Callable[..., Pixels]):
    images = [make_image(40, 50), make_image(40, 50, seed=1), make_image(20, 70, seed=2)]
    file = segment(segmenter, images, OutputSpec(output), "x")
    assert (file.media_type, file.suffix) == ("image/tiff", ".tif")
    pages = decode_pages(file.data)
    for page, image in zip(pages, images, strict=True):
        alone = segment(segmenter, [image], OutputSpec(output), "x")
        assert alone.media_type == "image/png"
        assert np.array_equal(page, decode_image(alone.data))


def test_a_single_page_is_a_tiff_if_that_is_wanted(segmenter: Segmenter, make_image: Callable[..., Pixels]):
    file = segment(segmenter, [make_image(9, 8)], OutputSpec(tiff=True), "x")
    assert file.media_type == "image/tiff"
    assert np.array_equal(decode_image(file.data), segmenter.mask(make_image(9, 8)))


def test_more_objects_than_16_bits_tell_apart_are_an_error(description: Description):
    dots = np.zeros((2, 2 * (MOST_OBJECTS + 1)), np.uint8)
    dots[0, ::2] = 255
    with pytest.raises(OutputError, match="65536 objects"):
        to_file(OutputSpec("instances"), description, NetInput([dots]), [dots], "x")
    assert (
        decode_image(to_file(OutputSpec("instances"), description, NetInput([dots]), [dots[:, 2:]], "x").data).max()
        == MOST_OBJECTS
    )
