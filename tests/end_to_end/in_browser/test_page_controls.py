"""Layout, keys, folders and the dialogs of the page, in a real browser."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from model.images.encoding import encode_tiff
from model.inputs.preprocessing import Pixels
from tests.end_to_end.browser import DROP_FOLDER, expect_objects, give, read_canvas, to_png

OpenPage = Callable[..., Page]


def _box(locator: Locator) -> dict[str, float]:
    box = locator.bounding_box()
    assert box is not None
    return {"left": box["x"], "top": box["y"], "right": box["x"] + box["width"], "bottom": box["y"] + box["height"]}


def test_images_picture_and_table_are_side_by_side(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    page.click("#example")
    expect_objects(page)
    images, picture, table = (_box(page.locator(each)) for each in ("#images", ".picture", "#object-table"))
    assert images["right"] < picture["left"]
    assert picture["right"] < table["left"]
    assert images["top"] < picture["bottom"]
    assert page.evaluate("document.documentElement.scrollWidth") == 1280


def test_the_threshold_stays_in_sight_on_a_narrow_screen(server: Any, open_page: OpenPage, pixels: Pixels):
    page = open_page(server.url, width=390)
    give(page, *((f"{number}.png", to_png(pixels)) for number in range(6)))
    expect_objects(page)
    slider = page.get_by_role("slider", name="Threshold")
    for scroll in (0, 100, 600):
        page.evaluate(f"scrollTo(0, {scroll})")
        expect(slider).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert _box(page.locator(".picture"))["bottom"] < _box(page.locator("#object-table"))["top"]


def test_keys_step_through_images_zoom_and_views(server: Any, open_page: OpenPage, pixels: Pixels):
    page = open_page(server.url)
    give(page, ("first.png", to_png(pixels)), ("second.png", to_png(~pixels)))
    expect(page.locator("#images .state")).to_have_text(["Done", "Done"])
    caption = page.locator("#caption")
    for key, name in (
        ("]", "second"),
        ("]", "second"),
        ("[", "first"),
        ("ArrowRight", "second"),
        ("ArrowLeft", "first"),
    ):
        page.keyboard.press(key)
        expect(caption).to_contain_text(f"{name}.png \u00b7")
    expect_objects(page)
    whole = read_canvas(page)
    page.keyboard.press("+")
    assert not np.array_equal(read_canvas(page), whole)
    page.keyboard.press("0")
    assert np.array_equal(read_canvas(page), whole)
    page.keyboard.press("o")
    assert page.locator("#modes input:checked").input_value() == "side"
    page.fill("#threshold-number", "0.5")  # keys of a field are the field's
    page.press("#threshold-number", "ArrowLeft")
    page.press("#threshold", "ArrowRight")
    expect(caption).to_contain_text("first.png")


def test_help_lists_the_keys(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    dialog = page.get_by_role("dialog", name="Keys")
    page.keyboard.press("?")
    expect(dialog).to_contain_text("previous and next image")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Keys").click()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_a_wrong_key_is_said_to_be_wrong(locked_server: Any, open_page: OpenPage):
    page = open_page(locked_server.url, refused=True)
    page.click("#example")
    expect(page.get_by_label("Key", exact=True)).to_be_visible()
    expect(page.locator("#key-problem")).to_be_hidden()
    for key in ("wrong", "second"):
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        if key == "wrong":
            expect(page.get_by_role("alert").get_by_text("The key is wrong.")).to_be_visible()
    expect_objects(page)


def test_limits_are_shown_and_checked_before_the_upload(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    expect(page.locator("#limits")).to_have_text("Files up to 0.2 MB, images up to 1 megapixel.")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    heavy = to_png(np.random.default_rng(0).integers(0, 256, (500, 500), np.uint8))
    large = encode_tiff([np.zeros((1000, 1200), np.uint8)])
    give(page, ("heavy.png", heavy), ("large.tif", large))
    expect(page.locator("#images .state").first).to_have_text("The file has 0.251 MB; this server accepts 0.2 MB.")
    wide = "The image has 1200 × 1000 pixels; this server accepts 1 megapixel."
    expect(page.locator("#images .state").nth(1)).to_have_text(wide)
    assert not [url for url in requests if "/segment" in url]


def test_a_dropped_folder_gives_its_images_and_names_other_files(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    page.evaluate(DROP_FOLDER)
    expect(page.locator("#images .name")).to_have_text(["cells.png"])
    expect(page.locator("#skipped")).to_contain_text("2 files are not images: table.csv and Thumbs.db.")
    page.locator("#skipped").get_by_role("button", name="Close").click()
    expect(page.locator("#skipped")).to_be_hidden()
    expect_objects(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast(server: Any, open_page: OpenPage, scheme: Any):
    page = open_page(server.url)
    page.emulate_media(color_scheme=scheme)
    page.click("#example")
    expect_objects(page)
    page.keyboard.press("Tab")
    page.locator("#object-table tbody tr[id]").first.click()
    low = page.evaluate(CONTRAST)
    assert low == []


# Texts whose contrast with the nearest opaque background is below 4.5.
CONTRAST = """() => {
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgb = (colour) => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (colour) => rgb(colour).slice(0, 3)
        .map((value) => value / 255)
        .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const ground = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return rgb(colour)[3] === 255 || !element.parentElement ? colour : ground(element.parentElement);
    };
    const texts = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
        && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
    return texts.map((element) => {
        const [first, second] = [getComputedStyle(element).color, ground(element)].map(luminance).sort((a, b) => b - a);
        return [(first + 0.05) / (second + 0.05), element.tagName, element.textContent.trim().slice(0, 40)];
    }).filter(([contrast]) => contrast < 4.5);
}"""
