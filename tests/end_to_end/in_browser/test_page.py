"""The page in a real browser: headless Chromium, driven by Playwright."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, expect

from model.images.decoding import decode_image
from model.images.encoding import encode_png, encode_tiff
from model.inputs.preprocessing import Pixels
from model.weights_file import load_weights
from tests.end_to_end.browser import (
    EXAMPLE,
    ask,
    expect_figures,
    expect_objects,
    give,
    read_mask,
    slide,
    tinted,
    to_png,
)
from tests.end_to_end.http import HTTP
from tests.support.small_net import save_small_net

OpenPage = Callable[..., Page]
ServeWeights = Callable[[Path], Any]


def test_the_threshold_slider_changes_the_mask_without_a_request(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    page.click("#example")
    expect_figures(page, read_mask(ask(server.url, EXAMPLE)))
    slide(page, "opacity", 100)
    before = tinted(page)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    slide(page, "threshold", 0.7)
    assert 0.01 < tinted(page) < before - 0.01
    expect_figures(page, read_mask(ask(server.url, EXAMPLE, threshold=0.7)))
    page.click("#reset")
    assert tinted(page) == before
    assert requests == []
    expect_figures(page, read_mask(ask(server.url, EXAMPLE)))  # counted a moment after it is drawn
    assert (
        page.locator("#histogram").get_attribute("aria-label") == f"Histogram of areas. {page.inner_text('#summary')}"
    )


def test_downloads_follow_the_threshold_and_have_the_images_name(server: Any, open_page: OpenPage, png: bytes):
    def download(output: str) -> tuple[bytes, str]:
        with page.expect_download() as started:
            page.click(f"[data-output={output}]")
        return started.value.path().read_bytes(), started.value.suggested_filename

    page = open_page(server.url)
    give(page, ("Zähne.png", png))
    probability = ask(server.url, png, output="probability")
    assert download("probability") == (probability.content, "Zähne_probability.png")
    slide(page, "threshold", 0.45)
    data, name = download("mask")
    assert name == "Zähne_mask.png"
    mask, expected = decode_image(data), read_mask(ask(server.url, png, threshold=0.45))
    # probabilities are rounded to 16 bits on their way to the page
    levels = read_mask(probability).astype(float)
    assert np.abs(levels[mask != expected] - 0.45 * 65535).max(initial=0) < 1
    assert np.count_nonzero(mask != expected) < 0.001 * mask.size
    assert not np.array_equal(read_mask(ask(server.url, png)), expected)
    coco, name = download("coco")
    assert name == "Zähne_coco.json"
    assert json.loads(coco)["images"][0]["file_name"] == "Zähne.png"
    assert sum(each["area"] for each in json.loads(coco)["annotations"]) == np.count_nonzero(mask)


def test_the_page_explains_refused_files_in_plain_words(server: Any, open_page: OpenPage):
    page = open_page(server.url, refused=True)
    large = encode_png(np.zeros((1000, 1200), np.uint8))
    give(page, ("notes.png", b"no image"), ("cut.png", EXAMPLE[:5000]), ("large.png", large), ("good.png", EXAMPLE))
    states = page.locator("#images .state")
    expect(states.nth(0)).to_contain_text("not an image")
    expect(states.nth(1)).to_have_text("The PNG file is broken or truncated.")
    expect(states.nth(2)).to_have_text("The image has 1200 × 1000 pixels; this server accepts 1 megapixel.")
    expect(states.nth(3)).to_have_text("Done")
    expect(page.locator("#message")).to_contain_text("not an image")  # the first one is chosen
    expect(page.locator("#panel")).to_be_hidden()
    page.get_by_role("button", name="Remove notes.png").click()
    expect(page.locator("#message")).to_contain_text("truncated")
    page.get_by_role("button", name="good.png Done").click()
    expect_objects(page)


def test_the_page_sends_no_request_for_a_file_that_is_not_an_image(server: Any, open_page: OpenPage):
    page = open_page(server.url)  # not even the browser's own line about a refused request
    give(page, ("notes.png", b"no image"), ("empty.tif", b""))
    expect(page.locator("#images .state").nth(1)).to_have_text("The file is empty.")


def test_the_pages_of_a_stack_are_turned_by_a_slider(server: Any, open_page: OpenPage, pixels: Pixels):
    pages = [pixels, 255 - pixels, pixels[::-1] // 2]
    page = open_page(server.url)
    give(page, ("stack.tif", encode_tiff([each.copy() for each in pages])))
    expect(page.locator("#caption")).to_have_text("stack.tif · 70 × 150, 3 pages")
    for number, each in enumerate(pages, start=1):
        slide(page, "page", number)
        expect(page.locator("#page-number")).to_have_text(f"{number} of 3")
        expect_figures(page, read_mask(ask(server.url, to_png(each))))
    assert not page.locator("#note").is_visible()  # the image is shown, too


def test_pasted_and_dropped_images_are_taken(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    give = """async ([kind, field]) => {
        const files = new DataTransfer();
        const image = await (await fetch("static/example.png")).blob();
        files.items.add(new File([image], kind + ".png", { type: "image/png" }));
        const Kind = kind === "paste" ? ClipboardEvent : DragEvent;
        document.body.dispatchEvent(new Kind(kind, { [field]: files, bubbles: true }));
    }"""
    page.evaluate(give, ["paste", "clipboardData"])
    page.evaluate(give, ["drop", "dataTransfer"])
    expect(page.locator("#images .name")).to_have_text(["paste.png", "drop.png"])
    expect(page.locator("#images .state")).to_have_text(["Done", "Done"])


def test_the_key_is_asked_for_where_one_is_needed(locked_server: Any, open_page: OpenPage):
    page = open_page(locked_server.url, refused=True)
    page.click("#example")
    for key in ("wrong", "schlüssel", "κλειδί", "second"):
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
    expect(page.locator("#images .state")).to_have_text("Done")
    expect_objects(page)


def test_several_classes_have_colours_and_a_legend_and_no_threshold(
    serve_weights: ServeWeights, open_page: OpenPage, classes_path: Path, pixels: Pixels
):
    url = serve_weights(classes_path).url
    page = open_page(url)
    give(page, ("x.png", to_png(pixels)))
    expect_figures(page, read_mask(ask(url, to_png(pixels))))
    expect(page.locator("#legend li")).to_have_text(["nucleus", "membrane"])
    expect(page.locator("#threshold")).to_be_hidden()
    with page.expect_download() as started:
        page.get_by_role("button", name="Probability of membrane").click()
    assert (
        started.value.path().read_bytes() == ask(url, to_png(pixels), **{"output": "probability", "class": 2}).content
    )


def test_the_footer_says_what_serves_and_leads_to_the_api(server: Any, open_page: OpenPage):
    page = open_page(server.url)
    model = HTTP.get(f"{server.url}/model").json()
    expect(page.locator("#model")).to_have_text(re.compile(f"small-net .*{model['engine']} on cpu, fp32"))
    assert page.get_by_role("link", name="API").get_attribute("href") == "docs"


def test_the_page_follows_the_net_and_marks_masks_of_the_former_one(
    serve_weights: ServeWeights, open_page: OpenPage, tmp_path: Path, png: bytes
):
    server = serve_weights(save_small_net(tmp_path / "net.safetensors"))
    page = open_page(server.url)
    give(page, ("before.png", png))
    expect_figures(page, read_mask(ask(server.url, png)))
    serve_weights(save_small_net(tmp_path / "net.safetensors", seed=1, classes=3))
    label = load_weights(tmp_path / "net.safetensors").label
    expect(page.locator("#net-notice")).to_be_hidden()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # as when its tab is chosen
    expect(page.locator("#net-notice")).to_contain_text(label)
    expect(page.locator("#model")).to_contain_text(label.partition("@")[2])
    expect(page.locator("#message")).to_contain_text("The net has changed")
    expect(page.locator("#panel")).to_be_hidden()
    page.get_by_role("button", name="Compute all again").click()
    expect_figures(page, read_mask(ask(server.url, png)))
    expect(page.locator("#net-notice")).to_be_hidden()
    expect(page.locator("#threshold-field")).to_be_hidden()
    expect(page.locator("#legend li")).to_have_count(1)


def test_the_page_learns_of_another_net_from_an_answer(
    serve_weights: ServeWeights, open_page: OpenPage, tmp_path: Path, png: bytes
):
    server = serve_weights(save_small_net(tmp_path / "net.safetensors"))
    page = open_page(server.url)
    give(page, ("before.png", png))
    expect_objects(page)
    serve_weights(save_small_net(tmp_path / "net.safetensors", seed=1))
    label = load_weights(tmp_path / "net.safetensors").label
    give(page, ("after.png", png))
    expect(page.locator("#net-notice")).to_contain_text(label)
    expect(page.get_by_role("button", name="before.png The net has changed")).to_be_visible()
    page.get_by_role("button", name="after.png Done").click()
    expect_figures(page, read_mask(ask(server.url, png)))
    page.get_by_role("button", name="before.png").first.click()
    page.get_by_role("button", name="Compute again").click()
    expect_figures(page, read_mask(ask(server.url, png)))
