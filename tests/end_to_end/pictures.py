"""`make pictures`: what docs/training.md and docs/api.md show, made by the commands they name, into docs/pictures/."""

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import httpx
import numpy as np
from playwright.sync_api import sync_playwright

from model.images import decode_image, encode_png
from model.outputs.colours import colour
from tests.end_to_end.browser import NO_BROWSER, find_browser
from tests.end_to_end.screenshots import ROOT, save, service

OUT = ROOT / "docs/pictures"
# As docs/training.md has them; each is the arguments of a Python.
COMMANDS = (
    "-m training.synthetic --out data/train --count 24",
    "-m training.run --data data/train --out runs/first --width 16 --steps 300",
    "-m training.evaluate --weights runs/first/weights.safetensors --data data/train --sheet runs/first/sheet.png",
)
SHEET_WIDTH = 1024  # pixels
REPORT = {"width": 1100, "height": 1500}  # pixels, of the top of the page


def main() -> int:
    """The command; returns the exit code (0, or 2 without a browser)."""
    browser_path = find_browser()
    if browser_path is None:
        print(f"pictures: {NO_BROWSER}", file=sys.stderr)
        return 2
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        _train(Path(folder), browser_path)
    _segment()
    return 0


def _train(folder: Path, browser_path: str) -> None:
    for command in COMMANDS:
        subprocess.run([sys.executable, *command.split()], cwd=folder, env={"PYTHONPATH": str(ROOT)}, check=True)
    for kind in ("image", "label"):
        (OUT / f"{kind}.png").write_bytes((folder / f"data/train/{kind}/0.png").read_bytes())
    sheet = decode_image((folder / "runs/first/sheet.png").read_bytes())
    scale = SHEET_WIDTH / sheet.shape[1]
    save(encode_png(cv2.resize(sheet, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)), OUT / "sheet.png")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport=REPORT, color_scheme="light")  # type: ignore[arg-type]  # a TypedDict's literal
        page.goto((folder / "runs/first/report.html").as_uri())
        save(page.screenshot(), OUT / "report.png")
        browser.close()


def _segment() -> None:
    example = (ROOT / "docs/example.png").read_bytes()
    with service() as url, httpx.Client(base_url=url, timeout=60) as client:
        overlay, instances = (
            client.post("/segment", params={"output": output}, files={"file": example}).raise_for_status().content
            for output in ("overlay", "instances")
        )
    save(overlay, OUT / "overlay.png")
    ids = decode_image(instances)
    colours = np.array([(0, 0, 0), *(colour(index) for index in range(1, int(ids.max()) + 1))], np.uint8)
    save(encode_png(colours[ids]), OUT / "instances.png")


if __name__ == "__main__":
    sys.exit(main())
