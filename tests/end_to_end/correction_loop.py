"""`make loop`: segment, correct by hand, retrain, and the open page has the new net.

Images of a look that the bundled net does not know are corrected on the page, in a real browser, towards the truth.
A training of two minutes learns from the saved pairs, the service changes to its net, and the page computes again.
Prints V_rand on held-out images of that look before and after, and writes the pictures of docs/corrections.md.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from tests.end_to_end.browser import NO_BROWSER, ask, chromium, find_browser, read_mask
from tests.end_to_end.hand import Hand
from tests.end_to_end.screenshots import PATIENCE_S, ROOT, save, service

OUT = ROOT / "docs/pictures"
BUNDLED = ROOT / "model/weights/em-membranes.safetensors"
PAIRS = 8  # to correct; as many are held out
SIZE = 256  # of the images: height and width, pixels
BRUSH = 3
VIEW = {"width": 1280, "height": 840}
MINUTES = 2


def main() -> int:
    """The command; returns the exit code (0; 1 if the score did not rise; 2 without a browser)."""
    browser_path = find_browser()
    if browser_path is None:
        print(f"loop: {NO_BROWSER}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _make_data(folder)
        (folder / "served").mkdir()
        shutil.copy(BUNDLED, folder / "served")
        settings = {"SEGMENT_WEIGHTS": str(folder / "served"), "SEGMENT_LABELS": str(folder / "labels")}
        os.environ |= settings | {"SEGMENT_WATCH_S": "1"}
        with service() as url, chromium(browser_path) as browser:
            page = browser.new_page(viewport=VIEW, color_scheme="light")  # type: ignore[arg-type]  # a TypedDict's literal
            expect.set_options(timeout=1000 * PATIENCE_S)
            page.goto(f"{url}/")
            _correct_all(page, url, folder)
            _retrain(folder)
            _compute_again(page)
        before, after = (_score(folder, weights) for weights in (BUNDLED, folder / "served/weights.safetensors"))
    print(f"V_rand on {PAIRS} held-out images: {before:.3f} before, {after:.3f} after {MINUTES} minutes")
    return 0 if after > before else 1


def _make_data(folder: Path) -> None:
    """Makes images with uneven light, blur and noise: the first ones in `new`, the others in `held`."""
    _run(f"-m training.synthetic --out made --size {SIZE} --count {2 * PAIRS} --seed 5", folder)
    light = np.linspace(0.3, 1, SIZE)
    for number in range(2 * PAIRS):
        part = folder / ("new" if number < PAIRS else "held")
        for kind in ("image", "label"):
            (part / kind).mkdir(parents=True, exist_ok=True)
        image = np.array(Image.open(folder / f"made/image/{number}.png")).astype(np.float32)
        noise = np.random.default_rng(number).normal(0, 14, image.shape)
        changed = np.clip(cv2.GaussianBlur(image, (0, 0), 1.5) * light + noise, 0, 255).astype(np.uint8)
        Image.fromarray(changed).save(part / f"image/{number}.png")
        shutil.copy(folder / f"made/label/{number}.png", part / "label")


def _correct_all(page: Page, url: str, folder: Path) -> None:
    paths = sorted((folder / "new/image").iterdir())
    page.set_input_files("#files", paths)
    for number, path in enumerate(paths):
        page.get_by_role("button", name=f"{path.name} Done").click()
        expect(page.locator("#canvas")).to_have_attribute("aria-label", re.compile(f"^{path.name} with its mask"))
        if number == 0:
            _picture(page, "loop-1-segmented")
        mask = read_mask(ask(url, path.read_bytes())) > 0
        truth = np.array(Image.open(folder / "new/label" / path.name)) > 0
        _correct(Hand(page, (SIZE, SIZE)), mask, truth)
        if number == 0:
            _picture(page, "loop-2-corrected")
        page.click("#save-training")
        expect(page.locator("#training-state")).to_contain_text(f"The server has {number + 1} pair")
        _check_saved(page, folder, path)


def _correct(hand: Hand, mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> None:
    """Draws what is missing and erases what is false, as far as it is as wide as the brush."""
    for tool, wrong in (("Brush", truth & ~mask), ("Eraser", mask & ~truth)):
        hand.use(tool, BRUSH)
        for stroke in _strokes(wrong):
            hand.draw(*stroke)


def _strokes(wrong: NDArray[np.bool_]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yields lines from pixel to pixel that cover an area, as far as it is as wide as the brush."""
    middle = cv2.erode(wrong.astype(np.uint8), np.ones((BRUSH, BRUSH), np.uint8), borderValue=0)
    for top in range(1, SIZE, BRUSH):
        rows = middle[top : top + BRUSH]
        for y, row in enumerate(rows, top):
            edges = np.flatnonzero(np.diff(row, prepend=0, append=0))
            for start, end in zip(edges[::2], edges[1::2], strict=True):
                if y == top or not middle[y - 1, start:end].all():
                    yield (int(start), y), (int(end) - 1, y)


def _check_saved(page: Page, folder: Path, path: Path) -> None:
    """The label on the disk is the mask that the page downloads."""
    records = [json.loads(file.read_text()) for file in (folder / "labels/provenance").iterdir()]
    (record,) = (record for record in records if record["name"] == path.name)
    label = np.array(Image.open(folder / f"labels/label/{record['id']}.png"))
    with page.expect_download() as started:
        page.click("[data-output=mask]")
    assert np.array_equal(np.array(Image.open(started.value.path())), label)


def _retrain(folder: Path) -> None:
    command = f"-m training.run --data labels --init {BUNDLED} --out served --minutes {MINUTES}"
    _run(command, folder)


def _compute_again(page: Page) -> None:
    again = page.get_by_role("button", name="Compute all again")
    expect(again).to_be_visible()
    page.get_by_role("button", name="0.png The net has changed").click()
    _picture(page, "loop-3-changed")
    again.click()
    expect(page.locator("#images [data-state=done]")).to_have_count(PAIRS)
    expect(page.locator("#count")).to_have_text(re.compile(r"\d"))
    _picture(page, "loop-4-again")


def _score(folder: Path, weights: Path) -> float:
    """V_rand on the held-out images, at the threshold of the weights."""
    command = f"-m training.evaluate --weights {weights} --data held --json"
    found = json.loads(_run(command, folder, stdout=subprocess.PIPE))
    return float(found["all"][str(found["stored_threshold"])]["v_rand"])


def _run(command: str, folder: Path, stdout: int | None = None) -> str:
    """Runs Python in a folder; returns what it wrote to stdout, if that is a pipe."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, *command.split()]
    return subprocess.run(words, cwd=folder, env=environment, check=True, text=True, stdout=stdout).stdout


def _picture(page: Page, name: str) -> None:
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    save(page.screenshot(), OUT / f"{name}.png")


if __name__ == "__main__":
    sys.exit(main())
