"""Downloads of the page, in a real browser: made without the service, and equal to what the service makes."""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

import httpx
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from model.images.decoding import decode_pages
from model.images.encoding import encode_tiff
from model.inputs.preprocessing import Pixels
from model.outputs.objects import find_regions
from model.weights_file import load_weights, save_weights
from tests.end_to_end.browser import expect_objects, give, read_mask, to_png
from tests.end_to_end.http import HTTP
from tests.support.image_files import tiff

OpenPage: TypeAlias = Callable[..., Page]
Files: TypeAlias = dict[str, bytes]

KINDS = ("mask", "probability", "instances", "overlay", "geojson", "coco", "table", "rois")
# Columns that may differ by the decoder of JPEG, and by how much: libraries round differently.
INTENSITY = 0.02


def _ask(url: str, name: str, data: bytes, **parameters: object) -> httpx.Response:
    response = HTTP.post(f"{url}/segment", params=parameters, files={"file": (name, data)})  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    return response


def _jpeg(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.fixture
def images(pixels: Pixels) -> Files:
    """One of each kind that the page reads: grey, colours, bits, calibration, stacks and channels."""
    sections = np.stack([pixels, 255 - pixels, pixels[::-1] // 2, pixels // 3])
    size = {"imagej": True, "resolution": (2, 4)}
    return {
        "grey.png": to_png(pixels),
        "colours.png": to_png(cast(Pixels, np.dstack([pixels, pixels // 2, ~pixels]))),
        "deep.png": to_png(pixels.astype(np.uint16) * 200),
        "photo.jpg": _jpeg(cast(Pixels, np.dstack([pixels, pixels[::-1], ~pixels]))),
        "grey.jpg": _jpeg(pixels),
        "micro.tif": tiff(pixels.astype(np.float32) / 7 - 3, **size, metadata={"unit": "um"}),
        "stack.tif": encode_tiff([pixels.copy(), (255 - pixels).copy()]),
        "hyper.tif": tiff(
            sections.reshape(2, 2, *pixels.shape), **size, metadata={"axes": "TZYX", "unit": "um", "spacing": 1.5}
        ),
        "two.ome.tif": tiff(
            sections.reshape(2, 2, *pixels.shape),
            ome=True,
            metadata={"axes": "ZCYX", "Channel": {"Name": ["A", "\u00b5"]}},
        ),
    }


def _download_all(page: Page, *kinds: str) -> Files:
    """Chooses outputs in the dialog; the files of the ZIP."""
    page.click("#download-all")
    for box in page.locator("#all-kinds input").all():
        box.set_checked(box.get_attribute("value") in kinds)
    with page.expect_download() as started:
        page.click("#all-save")
    return _unzip(started.value.path().read_bytes())


def _unzip(data: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def _download(page: Page, kind: str) -> bytes:
    with page.expect_download() as started:
        page.click(f"[data-output={kind}]")
    return started.value.path().read_bytes()


def _expect_equal(kind: str, found: bytes, expected: bytes, lossy: bool = False) -> None:
    """Both files say the same; `lossy`: values of the image may differ a little."""
    if kind == "table":
        _expect_equal_tables(_rows(found), _rows(expected), INTENSITY if lossy else 1e-9)
    elif kind == "rois":
        assert _unzip(found) == _unzip(expected)
    elif kind == "coco":
        assert json.loads(found) == json.loads(expected)
    elif kind == "geojson":
        assert _features(found) == _features(expected)
    else:
        pages = decode_pages(found), decode_pages(expected)
        for page, other in zip(*pages, strict=True):
            assert page.dtype == other.dtype
            allowed = (2 if lossy else 1) if kind == "overlay" else 0
            assert np.abs(page.astype(int) - other.astype(int)).max() <= allowed
        if found[:2] == b"II":
            assert _notes(found) == _notes(expected)


def _features(data: bytes) -> list[Any]:
    found: list[Any] = json.loads(data)["features"]
    return sorted(found, key=lambda each: (each["properties"].get("page", 0), each["properties"]["object_id"]))


def _notes(data: bytes) -> tuple[object, ...]:
    """Description, axes and calibration of a TIFF."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages.first.tags
        ratios = [tags[name].value for name in ("XResolution", "YResolution") if name in tags]
        scale = [pytest.approx(ratio[0] / ratio[1]) for ratio in ratios]
        return file.pages.first.description, file.imagej_metadata, scale


def _rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def _expect_equal_tables(found: list[dict[str, str]], expected: list[dict[str, str]], tolerance: float) -> None:
    assert len(found) == len(expected)
    for row, other in zip(found, expected, strict=True):
        assert list(row) == list(other)
        for name, value in other.items():
            if row[name] == value:
                continue
            near = tolerance if "intensity" in name else 1e-9
            # the minor axis of a line is 0 or a rounding error
            assert float(row[name]) == pytest.approx(float(value), rel=near, abs=1e-6 if "axis" in name else near), name


def _areas(kind: str, data: bytes) -> list[int]:
    """The areas of all objects, in the order of pages and ids."""
    match kind:
        case "table":
            return [int(row["area_px"]) for row in _rows(data)]
        case "coco":
            return [each["area"] for each in json.loads(data)["annotations"]]
        case "geojson":
            return [each["properties"]["area"] for each in _features(data)]
        case "mask":
            pages: list[Any] = [find_regions(np.asarray(page, np.uint8)) for page in decode_pages(data)]
        case _:
            pages = decode_pages(data)
    return [int(area) for page in pages for area in np.bincount(page.ravel())[1:]]


def _segment_requests(page: Page) -> list[str]:
    """Grows with each request to `POST /segment`."""
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url) if "/segment" in request.url else None)
    return seen


def _expect_done(page: Page, count: int) -> None:
    expect(page.locator("#images li[data-state=done]")).to_have_count(count, timeout=60_000)


def test_all_outputs_of_the_page_equal_those_of_the_service(server: Any, open_page: OpenPage, images: Files):
    page = open_page(server.url)
    give(page, *images.items())
    _expect_done(page, len(images))
    requests = _segment_requests(page)
    files = _download_all(page, *KINDS)
    assert requests == []
    stems = {**dict.fromkeys(images, ""), "grey.jpg": "grey-2"}
    joined: list[dict[str, str]] = []
    for name, data in images.items():
        stem = stems[name] or Path(name).stem
        for kind in KINDS:
            answer = _ask(server.url, name, data, output=kind)
            suffix = Path(answer.headers["content-disposition"].partition('filename="')[2].rstrip('"')).suffix
            found = files.pop(f"{stem}_{kind}{suffix}")
            _expect_equal(kind, found, answer.content, lossy=name.endswith(".jpg"))
            if kind == "table":
                joined += [{"file": stem + Path(name).suffix, **row} for row in _rows(found)]
    table = _rows(files.pop("objects.csv"))
    assert [{name: value for name, value in row.items() if value} for row in table] == joined
    assert files == {}


def test_40_images_are_saved_without_a_request(server: Any, open_page: OpenPage):
    random = np.random.default_rng(0)
    images = [(f"{index % 39}.png", random.integers(0, 256, (30, 41), np.uint8)) for index in range(40)]
    page = open_page(server.url)
    give(page, *((name, to_png(pixels)) for name, pixels in images))
    _expect_done(page, 40)
    requests = _segment_requests(page)
    page.click("#download-all")
    page.click("#all-save")
    page.click("#all-cancel")
    files = _download_all(page, "mask", "instances", "geojson", "coco", "table", "rois")
    assert requests == []
    assert len(files) == 40 * 6 + 1
    for stem in [*(str(index) for index in range(39)), "0-2"]:
        areas = _areas("mask", files[f"{stem}_mask.png"])
        assert len(areas) == len(_unzip(files[f"{stem}_rois.zip"])) > 5
        for kind, suffix in {"instances": "png", "geojson": "geojson", "coco": "json", "table": "csv"}.items():
            assert _areas(kind, files[f"{stem}_{kind}.{suffix}"]) == areas, (stem, kind)
        rows = [row for row in _rows(files["objects.csv"]) if row["file"] == f"{stem}.png"]
        assert [int(row["area_px"]) for row in rows] == areas
    expect(page.locator("#all-dialog")).to_be_hidden()
    page.click("#download-all")
    expect(page.locator("#all-kinds input:checked")).to_have_count(6)  # as they were chosen before


def test_several_classes_are_saved_as_the_service_writes_them(
    serve: Callable[..., Any], open_page: OpenPage, classes_path: Path, pixels: Pixels
):
    url = serve(weights=classes_path).url
    images = {"x.png": to_png(pixels), "s.tif": encode_tiff([pixels.copy(), (255 - pixels).copy()])}
    page = open_page(url)
    give(page, *images.items())
    _expect_done(page, 2)
    page.fill("#min-area", "4")
    page.press("#min-area", "Enter")
    kinds = [kind for kind in KINDS if kind != "probability"]
    files = _download_all(page, *kinds)
    for name, data in images.items():
        for kind in kinds:
            found = next(file for each, file in files.items() if each.startswith(f"{Path(name).stem}_{kind}"))
            _expect_equal(kind, found, _ask(url, name, data, output=kind, min_area=4).content)


def test_ids_that_the_page_cannot_find_are_asked_for_once(
    serve: Callable[..., Any], open_page: OpenPage, weights_path: Path, tmp_path: Path, pixels: Pixels
):
    weights = load_weights(weights_path)
    rule = weights.description.model_copy(update={"objects": "seeds", "seed_depth": 0.5, "min_area": 3})
    save_weights(tmp_path / "seeds.safetensors", weights.tensors, rule)
    url = serve(weights=tmp_path / "seeds.safetensors").url
    page = open_page(url)
    requests = _segment_requests(page)
    data = to_png(pixels)
    give(page, ("x.png", data))
    expect_objects(page)
    files = _download_all(page, *KINDS)
    for kind in ("mask", "instances", "table", "coco"):
        found = next(file for each, file in files.items() if each.startswith(f"x_{kind}"))
        _expect_equal(kind, found, _ask(url, "x.png", data, output=kind).content)
    assert len(requests) == 2


def test_what_the_browser_cannot_read_is_said_beside_the_downloads(server: Any, open_page: OpenPage, pixels: Pixels):
    page = open_page(server.url)
    turned = tiff(pixels, extratags=[(274, 3, 1, 3, True)])  # by 180 degrees
    give(page, ("turned.tif", turned))
    expect_objects(page)
    table = _rows(_download(page, "table"))
    expect(page.locator("#download-note")).to_contain_text("The table has no intensities")
    expected = _rows(_ask(server.url, "turned.tif", turned, output="table").content)
    _expect_equal_tables(table, [_without_intensities(row) for row in expected], 0)
    overlay = _download(page, "overlay")
    expect(page.locator("#download-note")).to_contain_text("The service drew this overlay")
    assert overlay == _ask(server.url, "turned.tif", turned, output="overlay").content
    page.click("#download-all")
    for box in page.locator("#all-kinds input").all():
        box.set_checked(box.get_attribute("value") in ("mask", "overlay"))
    with page.expect_download() as started:
        page.click("#all-save")
    assert list(_unzip(started.value.path().read_bytes())) == ["turned_mask.png"]
    expect(page.locator("#all-remarks")).to_contain_text("turned.tif: This browser cannot read the image as stored")


def _without_intensities(row: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if "intensity" not in name}


def test_corrections_by_hand_are_in_every_output(server: Any, open_page: OpenPage):
    image = np.random.default_rng(3).integers(0, 256, (100, 120), np.uint8)
    page = open_page(server.url)
    give(page, ("x.png", to_png(image)))
    expect_objects(page)
    before = page.locator("#count").inner_text()
    page.click("#correct")
    page.locator("#tool-choice").get_by_text("Brush", exact=True).click()
    expect(page.locator("#tools")).to_have_attribute("aria-busy", "false")
    page.locator("#tool-size").fill("41")
    page.locator("#canvas").click()
    expect(page.locator("#count")).not_to_have_text(before)
    files = _download_all(page, *KINDS)
    mask = cast(Pixels, decode_pages(files["x_mask.png"])[0])
    original = read_mask(_ask(server.url, "x.png", to_png(image)))
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[40:60, 50:70] == 255).all()
    assert np.array_equal(mask[:29], original[:29])
    areas = _areas("mask", files["x_mask.png"])
    for kind, suffix in {"instances": "png", "geojson": "geojson", "coco": "json", "table": "csv"}.items():
        assert _areas(kind, files[f"x_{kind}.{suffix}"]) == areas
    assert page.locator("#count").inner_text() == f"{len(areas):,}" == f"{len(_unzip(files['x_rois.zip'])):,}"
    drawn = decode_pages(files["x_overlay.png"])[0]
    assert np.array_equal(drawn[50, 60], np.round(0.7 * _stretched(image)[50, 60] + 0.3 * np.array([0, 158, 115])))


def _stretched(image: Pixels) -> NDArray[np.float64]:
    """Grey levels of an image in an overlay."""
    low, high = int(image.min()), int(image.max())
    return np.rint((image.astype(float) - low) * 255 / (high - low))


def test_images_that_are_not_done_are_named(server: Any, open_page: OpenPage, png: bytes):
    page = open_page(server.url, refused=True)
    give(page, ("notes.png", b"no image"), ("good.png", png))
    expect(page.get_by_role("button", name="good.png Done")).to_be_visible()
    page.click("#download-all")
    expect(page.locator("#all-remarks")).to_have_text("notes.png is left out, because it failed.")
    for box in page.locator("#all-kinds input").all():
        box.set_checked(False)
    page.click("#all-save")
    expect(page.locator("#all-progress")).to_have_text("Choose an output.")
    page.click("#all-cancel")
    expect(page.locator("#all-dialog")).to_be_hidden()
