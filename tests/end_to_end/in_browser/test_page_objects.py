"""Objects on the page, in a real browser: their numbers, measurements and views agree with the service."""

import csv
import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from playwright.sync_api import Page, expect

from model.images.decoding import decode_image
from model.inputs.preprocessing import Pixels
from model.outputs.colours import colour
from model.outputs.objects import ObjectRule, Objects, find_objects, find_regions, with_levels
from model.segmenter import to_mask
from model.weights_file import load_weights, save_weights
from tests.end_to_end.browser import EXAMPLE, ask, expect_objects, give, read_canvas, read_mask, tinted, to_png

OpenPage = Callable[..., Page]
ServeWeights = Callable[[Path], Any]

# Columns of the page's table and of the service's, where numbers differ by rounding only.
COLUMNS = {
    "Label": "label",
    "Area px": "area_px",
    "Area \u00b5m\u00b2": "area_um2",
    "x px": "centroid_x_px",
    "y px": "centroid_y_px",
    "Box width": "bbox_width_px",
    "Box height": "bbox_height_px",
    "Mean intensity": "mean_intensity",
    "Mean red": "mean_intensity_red",
    "Mean green": "mean_intensity_green",
    "Mean blue": "mean_intensity_blue",
}


def _rows(page: Page) -> list[dict[str, str]]:
    """All rows of the table: in a frame without a limit, all of them are seen."""
    page.evaluate("document.getElementById('table-frame').style.height = 'auto'")
    length = int(page.locator("#object-table").get_attribute("aria-rowcount") or 0) - 1
    expect(page.locator("#object-table tbody tr[id]")).to_have_count(length)
    read = "(table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent))"
    titles, *rows = (row for row in page.locator("#object-table").evaluate(read) if row)
    return [dict(zip(titles, row, strict=True)) for row in rows]


def _expect_table_of_service(page: Page, answer: Any) -> None:
    """Each row is the service's, to the digits that the page shows."""
    expected = list(csv.DictReader(io.StringIO(answer.text)))
    expect(page.locator("#count")).to_have_text(f"{len(expected):,}")
    rows = _rows(page)
    assert len(rows) == len(expected) > 0
    for row, of_service in zip(rows, expected, strict=True):
        assert row["At border"] == {"true": "yes", "false": "no"}[of_service["touches_border"]]
        for title, name in COLUMNS.items():
            assert (title in row) == (name in of_service), title
            if title in row:
                shown = float(row[title].replace(",", "")), float(of_service[name])
                assert shown[0] == pytest.approx(shown[1], rel=6e-4, abs=0.0501), (title, row["Label"])


@pytest.fixture
def serve_rule(serve_weights: ServeWeights, weights_path: Path, tmp_path: Path) -> Callable[..., Any]:
    """`serve_rule(**rule)`: a server whose weights have this rule for objects."""

    def start(**rule: object) -> Any:
        weights = load_weights(weights_path)
        path = tmp_path / "rule.safetensors"
        save_weights(path, weights.tensors, weights.description.model_copy(update=rule))
        return serve_weights(path)

    return start


def test_table_of_the_page_equals_that_of_the_service(server: Any, open_page: OpenPage, pixels: Pixels):
    files = {
        "grey.png": to_png(pixels),
        "deep.png": to_png(pixels.astype(np.uint16) * 200),
        "colours.png": to_png(cast(Pixels, np.dstack([pixels, pixels // 2, ~pixels]))),
        "photo.jpg": _jpeg(pixels),
        "micro.tif": _tiff(pixels.astype(np.float32) / 7 - 3),
    }
    page = open_page(server.url)
    give(page, *files.items())
    for name, data in files.items():
        page.get_by_role("button", name=f"{name} Done").click()
        expect(page.locator("#canvas")).to_have_attribute("aria-label", _starts(name))
        _expect_table_of_service(page, ask(server.url, data, output="table"))


def _jpeg(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.dstack([pixels, pixels[::-1], ~pixels])).save(file, "JPEG", quality=90)
    return file.getvalue()


def _tiff(values: Any) -> bytes:
    """With pixels of 0.5 by 0.25 micrometres."""
    file = io.BytesIO()
    tifffile.imwrite(file, values, imagej=True, resolution=(2, 4), metadata={"unit": "um"})
    return file.getvalue()


def _starts(name: str) -> Any:
    return re.compile(f"^{re.escape(name)} with its mask")


@pytest.mark.parametrize(
    "rule", [{"objects": "interiors", "min_area": 4}, {"objects": "seeds", "seed_depth": 0.5, "min_area": 5}]
)
def test_table_follows_the_rule_of_the_weights(
    serve_rule: Callable[..., Any], open_page: OpenPage, pixels: Pixels, rule: dict[str, object]
):
    url = serve_rule(**rule).url
    page = open_page(url)
    data = to_png(cast(Pixels, cv2.resize(pixels, (210, 450))))
    give(page, ("cells.png", data))
    for threshold in (0.4, 0.5):
        page.fill("#threshold-number", str(threshold))
        page.press("#threshold-number", "Enter")
        _expect_table_of_service(page, ask(url, data, output="table", threshold=threshold))


def test_objects_of_several_classes_have_their_class(
    serve_weights: ServeWeights, open_page: OpenPage, classes_path: Path, pixels: Pixels
):
    url = serve_weights(classes_path).url
    page = open_page(url)
    data = to_png(pixels)
    give(page, ("x.png", data))
    answer = ask(url, data, output="table")
    _expect_table_of_service(page, answer)
    classes = [row["class"] for row in csv.DictReader(io.StringIO(answer.text))]
    assert len(set(classes)) > 1
    assert [row["Class"] for row in _rows(page)] == classes


def test_rows_are_sorted_by_the_buttons_of_the_head(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    page.click("#example")
    expect_objects(page)
    head = page.get_by_role("columnheader", name="Area px")
    expect(head).to_have_attribute("aria-sort", "none")
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    ascending = [int(row["Area px"].replace(",", "")) for row in _rows(page)]
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    descending = [int(row["Area px"].replace(",", "")) for row in _rows(page)]
    assert ascending == sorted(ascending) == descending[::-1]


def test_an_object_is_chosen_in_the_picture_or_in_the_table(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    page.click("#example")
    expect_objects(page)
    ids = read_mask(ask(server.url, EXAMPLE, output="instances"))
    canvas = page.locator("#canvas").bounding_box()
    assert canvas is not None
    y, x = np.argwhere(cv2.erode((ids > 0).astype(np.uint8), np.ones((5, 5), np.uint8)))[200]
    scale = min(canvas["width"], canvas["height"]) / 512
    place = {"x": canvas["width"] / 2 + (x + 0.5 - 256) * scale, "y": canvas["height"] / 2 + (y + 0.5 - 256) * scale}
    before = read_canvas(page)
    page.locator("#canvas").hover(position=place)  # type: ignore[arg-type]  # a TypedDict
    area = np.count_nonzero(ids == ids[y, x])
    expect(page.locator("#object-hint")).to_have_text(f"{ids[y, x]} \u00b7 {area:,} px")
    assert not np.array_equal(read_canvas(page), before)
    page.locator("#canvas").click(position=place)  # type: ignore[arg-type]  # a TypedDict
    chosen = page.locator("#object-table [aria-selected=true]")
    expect(chosen.locator("td").first).to_have_text(str(ids[y, x]))
    page.focus("#object-table")
    page.keyboard.press("End")
    expect(chosen.locator("td").first).to_have_text(str(ids.max()))
    expect(page.locator("#object-table")).to_have_attribute("aria-activedescendant", f"object-{ids.max()}")
    page.keyboard.press("ArrowUp")
    expect(chosen.locator("td").first).to_have_text(str(ids.max() - 1))
    whole = read_canvas(page)
    page.keyboard.press("Enter")
    assert not np.array_equal(read_canvas(page), whole)  # seen close by


def test_a_range_of_areas_filters_rows_and_picture(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    page.click("#example")
    expect_objects(page)
    areas = np.bincount(read_mask(ask(server.url, EXAMPLE, output="instances")).ravel())[1:]
    before = read_canvas(page)
    page.fill("#least-area", "20")
    page.press("#least-area", "Enter")
    page.fill("#most-area", "200")
    page.press("#most-area", "Enter")
    inside = np.count_nonzero((areas >= 20) & (areas <= 200))
    assert 0 < inside < len(areas)
    expect(page.locator("#row-count")).to_have_text(f"{inside} of {len(areas):,} objects")
    assert len(_rows(page)) == inside
    assert not np.array_equal(read_canvas(page), before)
    page.click("#all-areas")
    assert np.array_equal(read_canvas(page), before)
    box = page.locator("#histogram").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 1, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 40, steps=4)
    page.mouse.up()
    expect(page.locator("#least-area")).to_have_value("1")
    expect(page.locator("#row-count")).to_have_text(f"{len(areas):,} of {len(areas):,} objects")


def test_the_smallest_object_is_chosen_for_the_page_and_for_downloads(server: Any, open_page: OpenPage, pixels: Pixels):
    data = to_png(pixels)
    page = open_page(server.url)
    give(page, ("noise.png", data))
    expect_objects(page)
    expect(page.locator("#min-area")).to_have_value("0")
    page.locator("#opacity").fill("100")
    before = tinted(page)
    page.fill("#min-area", "6")
    page.press("#min-area", "Enter")
    _expect_table_of_service(page, ask(server.url, data, output="table", min_area=6))
    kept = read_mask(ask(server.url, data, min_area=6))
    shown = before * np.count_nonzero(kept) / np.count_nonzero(read_mask(ask(server.url, data)))
    assert tinted(page) == pytest.approx(shown, abs=0.002)
    for output in ("mask", "instances"):
        with page.expect_download() as started:
            page.click(f"[data-output={output}]")
        of_service = decode_image(ask(server.url, data, output=output, min_area=6).content)
        assert np.array_equal(decode_image(started.value.path().read_bytes()), of_service)


@pytest.mark.parametrize("rule", [{"objects": "interiors"}, {"objects": "seeds", "seed_depth": 0.5}])
def test_the_smallest_object_follows_each_rule(
    serve_rule: Callable[..., Any], open_page: OpenPage, pixels: Pixels, rule: dict[str, object]
):
    url = serve_rule(**rule, min_area=3).url
    page = open_page(url)
    data = to_png(pixels)
    give(page, ("cells.png", data))
    expect(page.locator("#min-area")).to_have_value("3")
    page.fill("#min-area", "8")
    page.press("#min-area", "Enter")
    _expect_table_of_service(page, ask(url, data, output="table", min_area=8))


def test_thousands_of_objects_have_few_rows_in_the_page(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    give(page, ("noise.png", to_png(np.random.default_rng(0).integers(0, 256, (400, 400), np.uint8))))
    expect_objects(page)
    length = int(page.locator("#object-table").get_attribute("aria-rowcount") or 0)
    assert length > 1000
    page.focus("#object-table")
    page.keyboard.press("End")
    last = page.locator("#object-table [aria-selected=true]")
    expect(last).to_have_attribute("aria-rowindex", str(length))
    expect(last).to_be_in_viewport()
    assert page.locator("#object-table tbody tr").count() < 60


def test_the_view_of_objects_has_all_colours_of_the_palette(server: Any, open_page: OpenPage, pixels: Pixels):
    page = open_page(server.url)
    give(page, ("noise.png", to_png(pixels)))
    expect_objects(page)
    page.locator("#opacity").fill("100")
    page.locator("#modes").get_by_text("Objects").click()
    seen = {tuple(pixel) for pixel in read_canvas(page)[..., :3].reshape(-1, 3)}
    assert {colour(value) for value in range(1, 8)} <= seen


@pytest.mark.parametrize("objects", ["regions", "interiors"])
def test_the_page_finds_the_ids_of_the_service(server: Any, open_page: OpenPage, objects: Objects):
    page = open_page(server.url)
    read = """async ([probabilities, width, level, rule]) => {
        const { findObjects } = await import(new URL("static/objects.js", document.baseURI));
        return [...findObjects(Uint16Array.from(probabilities), width, level, rule).ids];
    }"""
    noise = np.random.default_rng(0).random((90, 71), np.float32)
    smooth: Any = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 1, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    for values in (smooth, np.round(smooth * 8) / 8):  # the latter with plateaus
        stored = np.rint(values * 65535).astype(int)
        probabilities = (stored / 65535).astype(np.float32)
        for min_area in (0, 12):
            rule = ObjectRule(objects, min_area=min_area)
            ids = find_objects(with_levels(to_mask(probabilities[None], 0.55), probabilities, rule), rule)
            given = [stored.ravel().tolist(), 71, math.ceil(0.55 * 65535), {"objects": objects, "min_area": min_area}]
            assert ids.max() > 5
            assert page.evaluate(read, given) == ids.ravel().tolist()


def test_regions_have_the_numbers_that_opencv_gives(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    read = """async ([values, width]) => {
        const { findRegions } = await import(new URL("static/regions.js", document.baseURI));
        return [...findRegions(Uint8Array.from(values), width).ids];
    }"""
    random = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.6, 1):
        for classes in (1, 3):
            mask = np.where(random.random((40, 51)) < share, random.integers(1, classes + 1, (40, 51)), 0)
            mask = mask.astype(np.uint8)
            assert page.evaluate(read, [mask.ravel().tolist(), 51]) == find_regions(mask).ravel().tolist()
