"""`make screenshots`: the page with the example in it, wide and narrow, light and dark, into docs/screenshots/.

Served with the bundled weights, as to anybody. Needs Chromium or Chrome.
"""

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx
from PIL import Image
from playwright.sync_api import Browser, expect

from tests.end_to_end.browser import NO_BROWSER, chromium, find_browser
from tests.end_to_end.http import HTTP

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs/screenshots"
SCREENS = {1280: 820, 390: 2280}  # width: height, pixels; the threshold is at the bottom of a narrow screen
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
PATIENCE_S = 60.0


def main() -> int:
    """The command; returns the exit code (0, or 2 without a browser)."""
    browser_path = find_browser()
    if browser_path is None:
        print(f"screenshots: {NO_BROWSER}", file=sys.stderr)
        return 2
    OUT.mkdir(exist_ok=True)
    with service() as url, chromium(browser_path) as browser:
        for width in SCREENS:
            for scheme in SCHEMES:
                path = OUT / f"{width}-{scheme}.png"
                save(_picture(browser, url, width, scheme), path)
                print(path.relative_to(ROOT))
    return 0


@contextmanager
def service() -> Iterator[str]:
    """The address of a service on a free port, ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"SEGMENT_HOST": "127.0.0.1", "SEGMENT_PORT": str(port), "SEGMENT_LOG_LEVEL": "error"}
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-m", "app"], cwd=ROOT, env=environment)
    try:
        _wait_until_ready(url)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_until_ready(url: str) -> None:
    """Raises TimeoutError."""
    last = time.monotonic() + PATIENCE_S
    while time.monotonic() < last:
        try:
            if HTTP.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.2)
    raise TimeoutError("the service was not ready in time")


def _picture(browser: Browser, url: str, width: int, scheme: Literal["light", "dark"]) -> bytes:
    page = browser.new_page(viewport={"width": width, "height": SCREENS[width]}, color_scheme=scheme)
    page.goto(f"{url}/")
    page.click("#example")
    expect(page.locator("#summary")).not_to_be_empty(timeout=1000 * PATIENCE_S)
    page.mouse.move(0, 0)
    taken = page.screenshot(full_page=True)
    page.close()
    return taken


def save(png: bytes, path: Path) -> None:
    """With a palette of 128 colours: a quarter of the size, and hardly a difference to be seen."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128, kmeans=4).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
