"""axe-core finds no serious fault of accessibility on the page, in any of its states.

To add a state, bring the page into it in one of the functions that visit states, and yield its name.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from model.images.encoding import encode_tiff
from model.inputs.card import Card
from model.inputs.known_images import KnownImages
from model.inputs.preprocessing import Pixels, Preprocessing
from tests.end_to_end.browser import DROP_FOLDER, EXAMPLE, expect_objects, give
from tests.end_to_end.http import HTTP
from tests.support.pictures import blobs
from tests.support.small_net import save_small_net

AXE = Path(__file__).parents[3] / "node_modules/axe-core/axe.min.js"

# The colours and widths in which each state is checked. Between two states, the page keeps the last of them.
LOOKS: tuple[tuple[Literal["dark", "light"], int], ...] = (("dark", 390), ("light", 1280))

FIND_FAULTS = """async () => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
        .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ target }) => target).join(" ")}`);
}"""


def _visit_states(page: Page, url: str, pixels: Pixels) -> Iterator[str]:
    """Brings the page into one state after the other, and yields the name of each."""
    yield "empty"
    yield from _visit_dialogs(page)
    yield from _visit_results(page)
    yield from _visit_corrections(page)
    yield from _visit_other_files(page, pixels)
    yield from _visit_requests(page)
    yield from _visit_another_net(page, url)


def _visit_dialogs(page: Page) -> Iterator[str]:
    page.keyboard.press("?")
    yield "keys"
    page.keyboard.press("Escape")
    page.click("#example")
    key = page.get_by_label("Key", exact=True)
    expect(key).to_be_visible()
    yield "a key is needed"
    page.click("#key-cancel")
    yield "refused"
    page.get_by_role("button", name="Try again").click()
    key.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-problem")).to_be_visible()
    yield "the key is wrong"
    key.fill("right")
    page.keyboard.press("Enter")


def _visit_results(page: Page) -> Iterator[str]:
    expect_objects(page)
    expect(page.locator("#doubt")).to_be_visible()  # in all states with a result
    for view in ("Overlay", "Side by side", "Blink", "Objects"):
        page.locator("#modes").get_by_text(view, exact=True).click()
        yield view
    page.locator("#object-table tbody tr[id]").first.click()
    yield "an object is selected"
    page.fill("#least-area", "20")
    page.press("#least-area", "Enter")
    expect(page.locator("#row-count")).not_to_be_empty()
    yield "objects are filtered"


def _visit_corrections(page: Page) -> Iterator[str]:
    page.click("#correct")
    page.locator("#tool-choice").get_by_text("Eraser", exact=True).click()
    expect(page.locator("#tools")).to_have_attribute("aria-busy", "false")
    page.click("#canvas")
    expect(page.locator("#images .state")).to_have_text("Corrected, not saved")
    yield "corrected"
    page.click("#save-training")
    expect(page.locator("#training-state")).to_contain_text("Saved")
    yield "saved for training"
    page.click("#correct")


def _visit_other_files(page: Page, pixels: Pixels) -> Iterator[str]:
    give(page, ("notes.png", b"no image"), ("stack.tif", encode_tiff([pixels, 255 - pixels])))
    page.get_by_role("button", name="notes.png The file").click()
    yield "failed"
    page.click("#download-all")
    expect(page.locator("#all-remarks")).not_to_be_empty()
    yield "all images are downloaded"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="stack.tif Done").click()
    expect(page.locator("#pages")).to_be_visible()
    yield "pages of a stack"
    page.evaluate(DROP_FOLDER)
    expect(page.locator("#skipped")).to_be_visible()
    yield "files are skipped"
    page.locator("#skipped").get_by_role("button", name="Close").click()


def _visit_requests(page: Page) -> Iterator[str]:
    page.route("**/segment?*", lambda _: None)  # without an answer
    give(page, *((f"{number}.png", EXAMPLE) for number in range(3)))
    page.get_by_role("button", name="0.png").first.click()
    expect(page.locator("#message")).to_contain_text("Cancel")
    yield "on its way"
    page.get_by_role("button", name="2.png Waiting").click()
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("#message")).to_contain_text("Cancelled")
    yield "cancelled"
    page.unroute("**/segment?*")


def _visit_another_net(page: Page, url: str) -> Iterator[str]:
    nets = HTTP.get(f"{url}/models").json()
    changed = [model | {"sha256": "0" * 64} for model in nets["models"]]
    page.route("**/models", lambda route: route.fulfill(json=nets | {"models": changed}))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#net-notice")).to_be_visible()
    page.get_by_role("button", name="example.png The net has changed").click()
    yield "the net has changed"


def test_axe_finds_no_serious_fault_in_any_state(
    serve: Callable[..., Any], open_page: Callable[..., Page], pixels: Pixels, tmp_path: Path
):
    if not AXE.exists():
        pytest.skip("no axe-core (in the project's folder: npm ci)")
    save_small_net(tmp_path / "weights/blobs.safetensors", card=Card(segments="Blobs.", pixel_size_um=0.5))
    known = KnownImages.of([blobs(seed) for seed in range(5)], Preprocessing())
    save_small_net(tmp_path / "weights/small-net.safetensors", seed=1, known_images=known)
    url = serve(api_keys="right", labels=tmp_path / "labels", weights=tmp_path / "weights").url
    page = open_page(url, refused=True)
    page.evaluate(AXE.read_text())
    faults = []
    for state in _visit_states(page, url, pixels):
        for scheme, width in LOOKS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 800})
            faults += [f"{state}, {scheme}, {width} px: {fault}" for fault in page.evaluate(FIND_FAULTS)]
    assert faults == []
