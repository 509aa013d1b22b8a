"""Every output of an image shows the same objects, through the real HTTP stack."""

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from roifile import ImagejRoi
from shapely.geometry import Polygon, shape

from model.images.decoding import decode_pages
from model.inputs.preprocessing import Pixels
from model.outputs.objects import find_regions
from model.weights_file import load_weights, save_weights

# pycocotools hands numpy arrays of the kind before numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MakeImage = Callable[..., Pixels]
Page = int
Objects = dict[tuple[Page, int], tuple[int, str]]
"""The area and the class of each object, by page and id."""

RULES: dict[str, dict[str, Any]] = {
    "regions": {"objects": "regions"},
    "interiors": {"objects": "interiors"},
    "seeds": {"objects": "seeds", "seed_depth": 0.5, "min_area": 4},
}


@pytest.fixture(scope="module")
def services(
    start: Callable[..., TestClient], weights_path: Path, classes_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, TestClient]]:
    """A service for each rule by which masks become objects, and one of a net of three classes."""
    folder = tmp_path_factory.mktemp("rules")
    weights = load_weights(weights_path)
    with ExitStack() as stack:
        clients = {"classes": start(stack, weights=classes_path, engine="torch")}
        for name, fields in RULES.items():
            description = weights.description.model_copy(update=fields)
            save_weights(path := folder / f"{name}.safetensors", weights.tensors, description)
            clients[name] = start(stack, weights=path, engine="torch")
        yield clients


def _tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="minisblack", **options)
    return file.getvalue()


def _file(kind: str, make_image: MakeImage, to_file: Callable[..., bytes]) -> bytes:
    match kind:
        case "grey":
            return to_file(make_image(40, 50))
        case "colour":
            return to_file(make_image(50, 40, channels=3))
        case "stack":
            return _tiff(np.stack([make_image(40, 50, seed=seed) for seed in range(3)]))
        case "calibrated":
            metadata = {"axes": "ZCYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "Channel": {"Name": ["a", "b"]}}
            pages = [make_image(40, 50, dtype=np.uint16, seed=seed) for seed in range(4)]
            return _tiff(np.stack(pages).reshape(2, 2, 40, 50), ome=True, metadata=metadata)
        case _:
            smooth = cv2.GaussianBlur(make_image(170, 90).astype(np.float32), (0, 0), 3)  # a few objects
            return _tiff(smooth)  # in several tiles


def _ask(service: TestClient, data: bytes, output: str, **parameters: Any) -> Any:
    response = service.post("/segment", params={"output": output, **parameters}, files={"file": ("a.tif", data)})
    assert response.status_code == 200, response.text
    return response


def _of_instances(service: TestClient, data: bytes, **parameters: Any) -> Objects:
    pages = decode_pages(_ask(service, data, "instances", **parameters).content)
    areas = [np.bincount(page.ravel())[1:].tolist() for page in pages]
    return {(page, label): (area, "") for page, each in enumerate(areas) for label, area in enumerate(each, start=1)}


def _of_table(service: TestClient, data: bytes, **parameters: Any) -> Objects:
    rows = csv.DictReader(io.StringIO(_ask(service, data, "table", **parameters).text))
    return {(int(row["page"]), int(row["label"])): (int(row["area_px"]), row["class"]) for row in rows}


def _of_geojson(service: TestClient, data: bytes, **parameters: Any) -> Objects:
    found: Objects = {}
    for feature in _ask(service, data, "geojson", **parameters).json()["features"]:
        properties = feature["properties"]
        area = shape(feature["geometry"]).area
        assert area == properties["area"] == properties["measurements"]["Area px^2"]
        found[properties.get("page", 0), properties["object_id"]] = int(area), properties["classification"]["name"]
    return found


def _of_coco(service: TestClient, data: bytes, **parameters: Any) -> Objects:
    content = _ask(service, data, "coco", **parameters).json()
    assert {image["file_name"] for image in content["images"]} == {"a.tif"}
    names = {each["id"]: each["name"] for each in content["categories"]}
    found: Objects = {}
    for each in content["annotations"]:
        area = int(coco_mask.decode(each["segmentation"]).sum())
        assert area == each["area"]
        found[each["image_id"] - 1, each["object_id"]] = area, names[each["category_id"]]
    return found


def _of_rois(service: TestClient, data: bytes, **parameters: Any) -> Objects:
    found: Objects = {}
    with zipfile.ZipFile(io.BytesIO(_ask(service, data, "rois", **parameters).content)) as archive:
        for entry in archive.namelist():
            roi = ImagejRoi.frombytes(archive.read(entry))
            outer, *holes = roi.coordinates(multi=True) if roi.composite else [roi.coordinates()]
            *page, name, label = roi.name.split("-")
            page_number = int(page[0]) - 1 if page else 0
            found[page_number, int(label)] = int(Polygon(outer, holes).area), name
    return found


def _without_classes(objects: Objects) -> Objects:
    return {key: (area, "") for key, (area, _) in objects.items()}


@pytest.mark.parametrize("kind", ["grey", "colour", "stack", "calibrated", "tiled"])
@pytest.mark.parametrize("rule", [*RULES, "classes"])
def test_all_outputs_have_the_same_objects(
    services: dict[str, TestClient], rule: str, kind: str, make_image: MakeImage, to_file: Callable[..., bytes]
):
    service, data = services[rule], _file(kind, make_image, to_file)
    table = _of_table(service, data)
    assert table
    assert _of_geojson(service, data) == _of_coco(service, data) == _of_rois(service, data) == table
    assert _of_instances(service, data) == _without_classes(table)


@pytest.mark.parametrize("rule", [*RULES, "classes"])
def test_specks_are_dropped_from_every_output(services: dict[str, TestClient], rule: str, make_image: MakeImage):
    service, data = services[rule], _tiff(make_image(60, 80))
    mask = decode_pages(_ask(service, data, "mask").content)[0]
    sizes = np.sort(np.bincount(find_regions(mask).ravel())[1:])  # type: ignore[arg-type]
    least = int(sizes[len(sizes) // 2]) + 1
    table = _of_table(service, data, min_area=least)
    assert 0 < len(table) < len(_of_table(service, data, min_area=0))
    assert min(area for area, _ in table.values()) >= least
    assert _of_geojson(service, data, min_area=least) == _of_coco(service, data, min_area=least) == table
    assert _of_rois(service, data, min_area=least) == table
    assert _of_instances(service, data, min_area=least) == _without_classes(table)
    cleaned = decode_pages(_ask(service, data, "mask", min_area=least).content)[0]
    ids = decode_pages(_ask(service, data, "instances", min_area=least).content)[0]
    assert (cleaned > 0).sum() < (mask > 0).sum()
    assert np.array_equal(cleaned[cleaned > 0], mask[cleaned > 0])
    assert (ids[cleaned > 0] > 0).all()
    if rule != "interiors":  # whose objects grow past the mask
        assert np.array_equal(ids > 0, cleaned > 0)


def test_specks_stay_in_the_probability(services: dict[str, TestClient], make_image: MakeImage):
    data = _tiff(make_image(60, 80))
    asked = [_ask(services["regions"], data, "probability", **given).content for given in ({}, {"min_area": 50})]
    assert asked[0] == asked[1]


@pytest.mark.parametrize("wrong", ["-1", "1.5", "x"])
def test_a_wrong_min_area_is_refused(
    services: dict[str, TestClient], wrong: str, png: bytes, check_problem: Callable[..., dict[str, Any]]
):
    response = services["regions"].post("/segment", params={"min_area": wrong}, files={"file": png})
    assert "min_area" in check_problem(response, 422)["detail"]


def test_a_calibrated_table_is_in_micrometres(
    services: dict[str, TestClient], make_image: MakeImage, to_file: Callable[..., bytes]
):
    data = _file("calibrated", make_image, to_file)
    response = _ask(services["regions"], data, "table")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'inline; filename="a_table.csv"'
    rows = list(csv.DictReader(io.StringIO(response.text)))
    for row in rows:
        assert float(row["area_um2"]) == pytest.approx(int(row["area_px"]) * 0.125)
        assert {"mean_intensity_a", "mean_intensity_b", "z", "t"} <= row.keys()
    features = _ask(services["regions"], data, "geojson").json()["features"]
    assert [feature["properties"]["area_um2"] for feature in features] == [float(row["area_um2"]) for row in rows]


def test_a_broken_channel_that_is_only_measured_is_a_400(
    services: dict[str, TestClient], make_image: MakeImage, check_problem: Callable[..., dict[str, Any]]
):
    pages = np.stack([make_image(40, 50, seed=seed) for seed in range(2)])
    data = bytearray(_tiff(pages, imagej=True, metadata={"axes": "CYX"}, compression=None))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        last = file.pages[1].dataoffsets[0]
    cut = bytes(data[: last + 100])
    assert services["regions"].post("/segment", files={"file": cut}).status_code in (200, 400)
    check_problem(services["regions"].post("/segment?output=table", files={"file": cut}), 400)


@pytest.mark.parametrize(("accept", "output"), [("text/csv", "table"), ("application/zip", "rois")])
def test_the_accept_header_asks_for_a_table_or_rois(
    services: dict[str, TestClient], accept: str, output: str, png: bytes
):
    asked = services["regions"].post("/segment", files={"file": png}, headers={"Accept": accept})
    assert asked.content == services["regions"].post(f"/segment?output={output}", files={"file": png}).content


def test_too_many_objects_for_a_table_are_refused(
    services: dict[str, TestClient], png: bytes, check_problem: Callable[..., dict[str, Any]], monkeypatch: Any
):
    monkeypatch.setattr("model.outputs.output.MOST_OBJECTS", 0)
    for output in ("table", "rois"):
        problem = check_problem(services["regions"].post(f"/segment?output={output}", files={"file": png}), 422)
        assert "min_area" in problem["detail"]
