"""The progress of a large image on the page, and its cancellation, in a real browser."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from playwright.sync_api import Locator, Page, expect

from tests.end_to_end.browser import expect_objects, give, to_png
from tests.end_to_end.http import HTTP

WaitUntil = Callable[[Callable[[], object]], None]


def _is_idle(url: str) -> bool:
    return "segment_queue_pixels 0.0\n" in HTTP.get(f"{url}/metrics").text


def _percentage(state: Locator) -> int:
    found = re.match(r"Computing (\d+)%", state.inner_text())
    assert found
    return int(found[1])


def test_the_percentage_rises_until_cancel_frees_the_queue(
    serve: Callable[..., Any], open_page: Callable[..., Page], wait_until: WaitUntil, png: bytes
):
    url = serve(tile=64, engine="auto").url  # 64,009 tiles, because of halos of 28 pixels
    page = open_page(url)
    give(page, ("large.png", to_png(np.zeros((2024, 2024), np.uint8))))
    state, message = page.locator("#images .state").first, page.locator("#message")
    expect(state).to_have_text(re.compile(r"Computing \d+%"))
    before = _percentage(state)
    wait_until(lambda: _percentage(state) > before)
    expect(message).to_contain_text("Computing")
    page.get_by_role("button", name="Cancel", exact=True).focus()
    page.wait_for_timeout(1500)  # the text changes, and the button keeps the focus
    page.keyboard.press("Enter")
    expect(state).to_have_text("Cancelled")
    wait_until(lambda: _is_idle(url))
    give(page, ("small.png", png))
    page.get_by_role("button", name="small.png Done").click()
    expect_objects(page)
    page.get_by_role("button", name="large.png Cancelled").click()
    page.get_by_role("button", name="Compute", exact=True).click()
    expect(state).to_have_text(re.compile(r"Computing \d+%"))


def test_an_image_that_waits_is_cancelled_before_it_is_sent(server: Any, open_page: Callable[..., Page], png: bytes):
    page = open_page(server.url)
    page.route("**/segment?*", lambda _: None)  # without an answer
    give(page, *((f"{number}.png", png) for number in range(3)))
    page.get_by_role("button", name="2.png Waiting").click()
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("#images .state").nth(2)).to_have_text("Cancelled")
    for number in range(2):
        page.get_by_role("button", name=f"{number}.png").first.click()
        page.get_by_role("button", name="Cancel", exact=True).click()
    page.unroute("**/segment?*")
    page.get_by_role("button", name="Compute", exact=True).click()
    expect(page.locator("#images .state")).to_have_text(["Cancelled", "Done", "Cancelled"])
