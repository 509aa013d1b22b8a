from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from model.images.decoding import decode_pages
from tests.support.server_kit import QUPATH, process, read_array, read_layer, tiff


def _segment(client: TestClient, image: Any, output: str, **options: Any) -> bytes:
    answer = client.post("/segment", params={"output": output}, files={"file": tiff(image, **options)})
    assert answer.status_code == 200, answer.text
    return answer.content


def _table(client: TestClient, image: Any, columns: list[str]) -> np.ndarray[Any, Any]:
    """Columns of the service's table, a row for each object."""
    lines = [
        line.split(",") for line in _segment(client, image, "table", photometric="minisblack").decode().splitlines()
    ]
    places = [lines[0].index(column) for column in columns]
    return np.array([[float(line[place]) for place in places] for line in lines[1:]])


@pytest.fixture
def stack(make_image: Any) -> np.ndarray[Any, Any]:
    return np.stack([make_image(24, 30, seed=seed) for seed in range(3)])


@pytest.mark.parametrize("output", ["mask", "instances", "probability"])
def test_pictures_are_those_of_segment(client: TestClient, stack: Any, output: str):
    layer = read_layer(process(client, stack, output=output))
    assert layer["kind"] == ("image" if output == "probability" else "mask")
    assert layer["name"] == f"small-net {output}"
    assert layer["meta"] == {"position": [0, 0, 0]}
    pages = decode_pages(_segment(client, stack, output, photometric="minisblack"))
    array = read_array(layer["data"])
    assert array.dtype == pages[0].dtype
    assert np.array_equal(array, np.stack(pages))


def test_ids_of_one_page_come_with_their_measurements(client: TestClient, stack: Any):
    features = read_layer(process(client, stack[0], output="instances"))["meta"]["features"]
    table = _table(client, stack[0], ["label", "area_px", "solidity"])
    for place, name in enumerate(("label", "area_px", "solidity")):
        assert np.allclose(read_array(features[name]["__ndarray__"]), table[:, place])
    assert features["class"] == {"__ndarray__": ["foreground"] * len(table), "__dtype__": "<U10"}
    assert set(np.unique(read_array(features["touches_border"]["__ndarray__"]))) <= {0, 1}


def test_boxes_are_those_of_the_table_with_their_page(client: TestClient, stack: Any):
    layer = read_layer(process(client, stack, output="boxes"))
    table = _table(client, stack, ["bbox_x_px", "bbox_y_px", "bbox_width_px", "bbox_height_px", "page"])
    assert layer["kind"] == "boxes"
    corners = np.array([feature["geometry"]["coordinates"][0] for feature in layer["data"]])
    assert np.array_equal(corners[:, 0], table[:, [0, 1, 4]])
    assert np.array_equal(corners[:, 2, :2], table[:, :2] + table[:, 2:4])
    assert np.array_equal(corners[:, 0], corners[:, 4])


def test_points_are_the_centroids_with_their_page(client: TestClient, stack: Any):
    layer = read_layer(process(client, stack, output="points"))
    table = _table(client, stack, ["page", "centroid_y_px", "centroid_x_px"])
    assert layer["kind"] == "points"
    assert np.allclose(read_array(layer["data"]), table - [0, 0.5, 0.5], atol=1e-4)


def test_points_for_qupath_have_the_origin_of_its_pixels(client: TestClient, stack: Any):
    layer = read_layer(process(client, stack[0], QUPATH, output="points"))
    table = _table(client, stack[0], ["centroid_x_px", "centroid_y_px"])
    assert np.allclose([feature["geometry"]["coordinates"][0] for feature in layer["data"]], table)


@pytest.mark.parametrize("output", ["boxes", "points", "instances", "mask"])
def test_an_image_without_objects_gives_a_layer(client: TestClient, stack: Any, output: str):
    layer = read_layer(process(client, stack[0], output=output, min_area=10**6))
    assert layer["data"] is None or not read_array(layer["data"]).any()
    assert "features" not in layer["meta"]
    for_qupath = read_layer(process(client, stack[0], QUPATH, output=output, min_area=10**6))
    assert for_qupath["data"] == []


def test_colours_are_no_axis_of_the_result(client: TestClient, make_image: Any):
    image = make_image(24, 30, channels=3)
    layer = read_layer(process(client, image))
    assert layer["meta"]["position"] == [0, 0]
    assert np.array_equal(read_array(layer["data"]), decode_pages(_segment(client, image, "mask"))[0])
