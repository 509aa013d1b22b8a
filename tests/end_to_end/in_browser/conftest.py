"""One browser for all tests of this folder: headless Chromium, driven by Playwright."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.end_to_end.browser import NO_BROWSER, chromium, find_browser
from tests.end_to_end.conftest import PATIENCE_S


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Closed after this folder: while it is open, an event loop runs in this thread, and tests with another fail."""
    path = find_browser()
    if path is None:
        pytest.skip(NO_BROWSER)
    expect.set_options(timeout=1000 * PATIENCE_S)
    with chromium(path) as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """`open_page(url, refused=False, width=1280)`. Nothing may go wrong in it unseen, and nothing load from elsewhere.

    `refused`: the service answers with an error on purpose, and the browser writes a line about it to its console.
    """
    with ExitStack() as stack:
        seen: list[str] = []
        requests: list[str] = []

        def open_one(url: str, refused: bool = False, width: int = 1280) -> Page:
            context = browser.new_context(viewport={"width": width, "height": 800})
            stack.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: seen.append(str(error)))
            page.on("console", lambda line: seen.append(line.text) if line.type in ("error", "warning") else None)
            page.on("request", lambda request: requests.append(request.url))
            page.goto(f"{url}/")
            own = (url, "data:", "blob:")
            stack.callback(lambda: _check([each for each in requests if not each.startswith(own)]))
            expected = "Failed to load resource: the server responded with a status of 4"
            stack.callback(lambda: _check([line for line in seen if not (refused and line.startswith(expected))]))
            return page

        yield open_one


def _check(unexpected: list[str]) -> None:
    assert unexpected == []
