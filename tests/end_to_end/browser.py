"""What the tests of the page share besides fixtures: where the browser is, what they do in it, and what they see."""

import io
import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

from model.inputs.preprocessing import Pixels
from tests.end_to_end.http import HTTP

EXAMPLE = (Path(__file__).parents[2] / "app/static/example.png").read_bytes()
NO_BROWSER = "no Chromium or Chrome on the path (on Debian: apt install chromium-headless-shell)"
TINT = (0, 158, 115)  # of the only class, as in overlays

# A folder cannot be made by a script, so its entries are made up.
DROP_FOLDER = """async () => {
    const image = new File([await (await fetch("static/example.png")).blob()], "cells.png");
    const files = [image, new File(["name,area"], "table.csv"), new File(["x"], "Thumbs.db")];
    const entries = files.map((file) => ({ name: file.name, isDirectory: false, file: (done) => done(file) }));
    const createReader = () => ({ readEntries: (done) => done(entries.splice(0)) });
    DataTransferItem.prototype.webkitGetAsEntry = () => ({ name: "day 1", isDirectory: true, createReader });
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(image);
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
}"""


def find_browser() -> str | None:
    """The system's browser: Playwright's own would have to be downloaded. The headless shell starts fastest."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = (shutil.which(name) for name in names)
    return next(filter(None, found), None)


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """Without a sandbox, for tests may run as root in a container; it opens only the project's own pages."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def give(page: Page, *files: tuple[str, bytes]) -> None:
    """As picked in the browser's dialog, all at once."""
    page.set_input_files("#files", [FilePayload(name=name, mimeType="", buffer=data) for name, data in files])


def to_png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def ask(url: str, data: bytes, **parameters: object) -> httpx.Response:
    response = HTTP.post(f"{url}/segment", params=parameters, files={"file": ("x.png", data)})  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    return response


def _figures(mask: Pixels) -> tuple[str, str]:
    """What the page is to say of a mask: the count of its objects, and their share of the image."""
    count = sum(
        cv2.connectedComponents((mask == value).view(np.uint8), connectivity=4)[0] - 1 for value in set(mask[mask > 0])
    )
    return f"{count:,}", f"{100 * (mask > 0).mean():.1f}%"


def expect_figures(page: Page, mask: Pixels) -> None:
    count, share = _figures(mask)
    expect(page.locator("#count")).to_have_text(count)
    expect(page.locator("#share")).to_have_text(share)


def expect_objects(page: Page) -> None:
    """The mask is there, and what is in it counted."""
    expect(page.locator("#count")).to_have_text(re.compile(r"\d"))


def read_mask(response: httpx.Response) -> Pixels:
    return np.array(Image.open(io.BytesIO(response.content)))


def read_canvas(page: Page) -> Pixels:
    """What is drawn, H x W x 4, when the frames that are due have been."""
    read = """() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => {
        resolve(document.getElementById("canvas").toDataURL().split(",")[1]);
    })))"""
    return np.array(Image.open(io.BytesIO(b64decode(page.evaluate(read)))))


def is_grey(drawn: Pixels) -> bool:
    """As the image is without its mask."""
    return bool(np.ptp(drawn[..., :3].astype(int), axis=2).max() == 0)


def tinted(page: Page) -> float:
    """The share of the canvas that has the mask's colour, laid on fully."""
    return float((read_canvas(page)[..., :3] == TINT).all(axis=2).mean())


def slide(page: Page, name: str, value: float) -> None:
    page.locator(f"#{name}").fill(str(value))
