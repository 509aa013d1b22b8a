"""How the page shows images, in a real browser; and its scripts that read and count them."""

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from model.images.decoding import decode_image
from model.images.encoding import encode_tiff
from model.inputs.preprocessing import Pixels
from tests.end_to_end.browser import (
    ask,
    expect_figures,
    expect_objects,
    give,
    is_grey,
    read_canvas,
    read_mask,
    slide,
    to_png,
)
from tests.support.image_files import tiff

OpenPage = Callable[..., Page]


def test_sixteen_bits_are_stretched_to_be_seen(server: Any, open_page: OpenPage, pixels: Pixels):
    dark = pixels.astype(np.uint16) + 300  # as of a camera that uses few of its bits
    tiff = io.BytesIO()
    Image.fromarray(dark).save(tiff, "TIFF", compression="tiff_adobe_deflate")
    page = open_page(server.url)
    give(page, ("dark.png", to_png(dark)), ("dark.tif", tiff.getvalue()), ("light.png", to_png(pixels)))
    page.uncheck("#outlines")
    slide(page, "opacity", 0)
    seen = []
    for name in ("dark.png", "dark.tif", "light.png"):
        page.get_by_role("button", name=f"{name} Done").click()
        expect(page.locator("#caption")).to_contain_text(f"{name} · 70 × 150")
        _show_full_range(page)
        seen.append(read_canvas(page).astype(int))
    assert seen[0].max() == 255
    assert np.abs(seen[0] - seen[1]).max() == 0
    assert np.abs(seen[0] - seen[2]).max() <= 1


def test_pixels_without_a_range_are_stretched_to_be_seen(server: Any, open_page: OpenPage, pixels: Pixels):
    page = open_page(server.url)
    kinds: dict[str, Any] = {
        "float.tif": pixels.astype(np.float32) / 7 - 3,
        "int16.tif": pixels.astype(np.int16) * 50 - 9000,
    }
    give(page, *((name, tiff(values)) for name, values in kinds.items()), ("light.png", to_png(pixels)))
    page.uncheck("#outlines")
    slide(page, "opacity", 0)
    seen = []
    for name in (*kinds, "light.png"):
        page.get_by_role("button", name=f"{name} Done").click()
        expect(page.locator("#caption")).to_contain_text(f"{name} · 70 × 150")
        _show_full_range(page)
        seen.append(read_canvas(page).astype(int))
    assert seen[2].max() > 200
    assert np.abs(seen[0] - seen[2]).max() <= 1
    assert np.abs(seen[1] - seen[2]).max() <= 1


def _show_full_range(page: Page) -> None:
    """Images of 8 bits are shown as they are."""
    if page.locator("#range").is_visible():
        page.select_option("#range", "full")


def test_a_hot_pixel_does_not_blacken_the_image(
    server: Any, open_page: OpenPage, pixels: Pixels, wait_until: Callable[[Callable[[], object]], None]
):
    hot = pixels.astype(np.uint16)
    hot[75, 35] = 65535
    page = open_page(server.url)
    give(page, ("hot.png", to_png(hot)))
    expect_objects(page)
    page.uncheck("#outlines")
    slide(page, "opacity", 0)
    inside = read_canvas(page)[..., :3].mean()
    assert inside > 40
    page.select_option("#range", "full")
    wait_until(lambda: read_canvas(page)[..., :3].mean() < inside / 10)
    page.select_option("#range", "auto")
    wait_until(lambda: read_canvas(page)[..., :3].mean() == inside)
    slide(page, "gamma", 0.5)
    expect(page.locator("#gamma-number")).to_have_text("0.50")
    wait_until(lambda: read_canvas(page)[..., :3].mean() > 1.1 * inside)


def test_another_channel_is_chosen_on_the_page(
    server: Any, open_page: OpenPage, pixels: Pixels, wait_until: Callable[[Callable[[], object]], None]
):
    cells = tiff(
        np.stack([pixels, 255 - pixels]),
        ome=True,
        metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "\u00b5-GFP"]}},
    )
    page = open_page(server.url)
    give(page, ("cells.ome.tif", cells), ("second.png", to_png(~pixels)))
    expect_figures(page, read_mask(ask(server.url, cells)))
    expect(page.locator("#channel option")).to_have_text(["0: DAPI", "1: \u00b5-GFP"])
    page.select_option("#channel", label="1: \u00b5-GFP")
    second = ask(server.url, to_png(~pixels))
    expect_figures(page, read_mask(second))
    expect(page.locator("#channel")).to_have_value("1: \u00b5-GFP")
    with page.expect_download() as started:
        page.click("[data-output=instances]")
    of_service = decode_image(ask(server.url, cells, output="instances", channel=1).content)
    assert np.array_equal(decode_image(started.value.path().read_bytes()), of_service)
    page.uncheck("#outlines")
    slide(page, "opacity", 0)
    shown = read_canvas(page).astype(int)
    page.get_by_role("button", name="second.png Done").click()
    expect(page.locator("#caption")).to_contain_text("second.png · 70 × 150")
    expect(page.locator("#channel")).to_be_hidden()
    wait_until(lambda: np.abs(read_canvas(page) - shown).max() <= 1)


def test_of_several_channels_the_note_names_them_and_its_own_page_is_seen(
    server: Any, open_page: OpenPage, pixels: Pixels, wait_until: Callable[[Callable[[], object]], None]
):
    sections = [np.stack([pixels // (2 + section), pixels // (1 + section)]) for section in range(2)]
    cells = tiff(np.stack(sections), imagej=True, metadata={"axes": "ZCYX"})
    page = open_page(server.url)
    give(page, ("cells.tif", cells), ("second.png", to_png(sections[1][0])))
    page.uncheck("#outlines")
    slide(page, "opacity", 0)
    page.get_by_role("button", name="second.png Done").click()
    expect(page.locator("#caption")).to_contain_text("second.png · 70 × 150")
    expected = read_canvas(page).astype(int)
    page.get_by_role("button", name="cells.tif Done").click()
    expect(page.locator("#note")).to_contain_text("The image has 2 channels: 0, 1. Channel 0 was used")
    expect(page.locator("#page-number")).to_have_text("1 of 2")
    slide(page, "page", 2)
    expect(page.locator("#page-number")).to_have_text("2 of 2")
    wait_until(lambda: np.abs(read_canvas(page) - expected).max() <= 1)


@pytest.mark.parametrize("kind", ["turned", "planar"])
def test_a_tiff_that_would_be_shown_wrongly_is_not_shown(server: Any, open_page: OpenPage, pixels: Pixels, kind: str):
    options: dict[str, Any] = {"extratags": [(274, 3, 1, 3, True)]}  # by 180 degrees
    if kind == "planar":
        options = {"photometric": "rgb", "planarconfig": "separate"}
    data = tiff(pixels if kind == "turned" else np.stack([pixels, pixels // 2, ~pixels]), **options)
    page = open_page(server.url)
    give(page, ("odd.tif", data))
    expect_figures(page, read_mask(ask(server.url, data)))
    expect(page.locator("#note")).to_contain_text("cannot show the image itself")
    expect(page.get_by_role("columnheader", name="Mean")).to_have_count(0)


def test_a_very_wide_image_is_shown_scaled_and_measured_in_full(server: Any, open_page: OpenPage):
    wide = np.random.default_rng(0).integers(0, 256, (10, 9_000), np.uint8)
    page = open_page(server.url)
    give(page, ("wide.png", to_png(wide)))
    expect(page.locator("#note")).to_contain_text("fewer pixels")
    # of noise, some pixels lie within the rounding of 16 bits about the threshold
    probability = read_mask(ask(server.url, to_png(wide), output="probability"))
    expect_figures(page, (probability >= round(0.4 * 65535)).view(np.uint8))


def test_keys_zoom_move_and_hide_the_mask(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    page.click("#example")
    expect_objects(page)
    page.focus("#canvas")
    whole = read_canvas(page)
    page.keyboard.press("+")
    zoomed = read_canvas(page)
    page.keyboard.press("ArrowDown")
    moved = read_canvas(page)
    page.keyboard.press("0")
    assert np.array_equal(read_canvas(page), whole)
    assert not np.array_equal(zoomed, whole)
    assert not np.array_equal(moved, zoomed)
    page.keyboard.down("Space")
    assert is_grey(read_canvas(page))
    page.keyboard.up("Space")
    assert np.array_equal(read_canvas(page), whole)


def test_side_by_side_and_blinking_compare_the_image_with_its_mask(
    server: Any, open_page: OpenPage, wait_until: Callable[[Callable[[], object]], None]
):
    page = open_page(server.url)
    page.click("#example")
    expect_objects(page)
    page.get_by_text("Side by side").click()
    drawn = read_canvas(page)
    half = drawn.shape[1] // 2
    assert is_grey(drawn[:, :half])
    assert not is_grey(drawn[:, half:])
    page.get_by_text("Blink").click()
    wait_until(lambda: not is_grey(read_canvas(page)))
    wait_until(lambda: is_grey(read_canvas(page)))


def test_a_narrow_screen_needs_no_sideways_scrolling(server: Any, open_page: OpenPage, pixels: Pixels):
    page = open_page(server.url, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    give(page, ("a-name-without-end-" * 9 + ".tif", encode_tiff([pixels, pixels])), ("no image.png", b"nothing"))
    expect_objects(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for control in ("#threshold", "#opacity", "#zoom-in", "[data-output=coco]"):
        box = page.locator(control).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_the_colours_follow_the_button_and_stay(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Dark colours").click()
    dark = page.evaluate(ground)
    page.reload()
    assert page.evaluate(ground) == dark != light


def test_png_files_are_read_with_all_their_bits_whatever_their_filter(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    read = """async (bytes) => {
        const { decodePng } = await import(new URL("static/png.js", document.baseURI));
        return [...(await decodePng(Uint8Array.from(bytes))).data];
    }"""
    random = np.random.default_rng(0)
    filters = (
        cv2.IMWRITE_PNG_FILTER_NONE,
        cv2.IMWRITE_PNG_FILTER_SUB,
        cv2.IMWRITE_PNG_FILTER_UP,
        cv2.IMWRITE_PNG_FILTER_AVG,
        cv2.IMWRITE_PNG_FILTER_PAETH,
    )
    for dtype in (np.uint8, np.uint16):
        for shape in ((13, 17), (13, 17, 3)):
            stored = random.integers(0, np.iinfo(dtype).max, shape, dtype)
            for each in filters:
                _, encoded = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_FILTER, each])
                expected = stored[..., ::-1] if stored.ndim == 3 else stored
                assert page.evaluate(read, encoded.tolist()) == expected.ravel().tolist()
