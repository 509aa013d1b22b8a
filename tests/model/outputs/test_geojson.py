import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from rasterio.features import rasterize
from shapely.geometry import shape

from model.images.calibration import PixelSize
from model.inputs.net_input import NetInput
from model.outputs.geojson import feature_collection
from model.outputs.objects import find_regions

UNPLACED = NetInput([])
LABELS = {0: "background", 255: "cell"}


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_polygons_are_valid_and_cover_exactly_the_mask(share: float):
    mask = np.where(np.random.default_rng(0).random((40, 60)) < share, 255, 0).astype(np.uint8)
    ids = find_regions(mask)
    features = feature_collection([(ids, mask)], LABELS, UNPLACED)["features"]
    polygons = [shape(feature["geometry"]) for feature in features]
    assert len(polygons) == ids.max()
    assert all(polygon.is_valid for polygon in polygons)
    assert sum(polygon.area for polygon in polygons) == (mask > 0).sum()
    drawn = rasterize([(feature["geometry"], feature["properties"]["object_id"]) for feature in features], ids.shape)
    assert np.array_equal(drawn, ids)


def test_holes_are_kept_and_outlines_run_along_the_edges_of_pixels():
    mask = np.zeros((6, 7), np.uint8)
    mask[1:5, 2:6] = 255
    mask[2:4, 3:5] = 0
    [feature] = feature_collection([(find_regions(mask), mask)], LABELS, UNPLACED)["features"]
    polygon = shape(feature["geometry"])
    assert polygon.bounds == (2, 1, 6, 5)
    assert len(polygon.interiors) == 1
    assert feature["properties"]["area"] == polygon.area == 12
    assert feature["properties"]["classification"]["name"] == "cell"


def test_features_have_ids_and_measurements_as_qupath_reads_them():
    mask = np.where(np.random.default_rng(0).random((40, 60)) < 0.4, 255, 0).astype(np.uint8)
    page = (find_regions(mask), mask)
    given = NetInput([], pixel_size=PixelSize(0.5, 0.5))
    features = feature_collection([page, page], LABELS, given)["features"]
    assert len({uuid.UUID(feature["id"]) for feature in features}) == len(features)
    assert features == feature_collection([page, page], LABELS, given)["features"]
    for feature in features:
        properties = feature["properties"]
        assert properties["measurements"] == {
            "Area px^2": properties["area"],
            "Area \u00b5m^2": properties["area_um2"],
        }
        assert properties["area_um2"] == properties["area"] / 4


def test_a_mask_without_objects_gives_no_features():
    empty = np.zeros((3, 3), np.uint8)
    assert feature_collection([(find_regions(empty), empty)], LABELS, UNPLACED) == {
        "type": "FeatureCollection",
        "features": [],
    }


def test_features_of_a_stack_name_their_page():
    pages = []
    for width in (2, 3):
        mask = np.zeros((4, 4), np.uint8)
        mask[0, :width] = 255
        pages.append((find_regions(mask), mask))
    features = feature_collection(pages, LABELS, UNPLACED)["features"]
    assert [(f["properties"]["page"], f["geometry"]["plane"]["z"], f["properties"]["area"]) for f in features] == [
        (0, 0, 2),
        (1, 1, 3),
    ]


def test_a_class_is_named_and_coloured():
    mask = np.array([[1, 1, 0, 2]], np.uint8)
    features = feature_collection([(find_regions(mask), mask)], {0: "background", 1: "nucleus"}, UNPLACED)["features"]
    found = {f["properties"]["classification"]["name"]: f["properties"]["classification"]["color"] for f in features}
    assert set(found) == {"nucleus", "2"}
    assert found["nucleus"] != found["2"]


def test_several_threads_at_once_give_no_warnings():
    mask = np.where(np.random.default_rng(0).random((30, 40)) < 0.5, 255, 0).astype(np.uint8)
    pages = [(find_regions(mask), mask)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: feature_collection(pages, LABELS, UNPLACED), range(100)))
    assert found == [found[0]] * 100
