"""`make pictures`: what docs/training.md and docs/api.md show, made by the commands they name, into docs/pictures/."""

import io
import subprocess
import sys
import tempfile
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import cast

import httpx
import numpy as np
from PIL import Image

from model.images.decoding import decode_image
from model.inputs.preprocessing import Pixels
from tests.end_to_end.browser import NO_BROWSER, chromium, find_browser
from tests.end_to_end.screenshots import ROOT, save, service

OUT = ROOT / "docs/pictures"
# As docs/training.md has them; each is the arguments of a Python.
COMMANDS = (
    "-m training.synthetic --out data/train --count 24",
    "-m training.run --data data/train --out runs/first --width 16 --steps 300",
    "-m training.evaluate --weights runs/first/weights.safetensors --data data/train --sheet runs/first/sheet.png",
)
# Pixels.
WIDTH, SHEET_WIDTH = 384, 768
SHEET_ROWS = 2  # of the sheet's six
GOLDEN = 0.618  # of the circle of hues between one object's and the next one's: none comes twice
REPORT = {"width": 1000, "height": 1540}  # of the top of the page


def main() -> int:
    """The command; returns the exit code (0, or 2 without a browser)."""
    browser_path = find_browser()
    if browser_path is None:
        print(f"pictures: {NO_BROWSER}", file=sys.stderr)
        return 2
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            subprocess.run([sys.executable, *command.split()], cwd=folder, env={"PYTHONPATH": str(ROOT)}, check=True)
        _show_training(Path(folder), browser_path)
    _show_outputs()
    return 0


def _show_training(folder: Path, browser_path: str) -> None:
    for kind in ("image", "label"):
        _save(_read(folder / f"data/train/{kind}/0.png"), kind, WIDTH)
    sheet = _read(folder / "runs/first/sheet.png")
    _save(sheet[: SHEET_ROWS * len(sheet) // 6], "sheet", SHEET_WIDTH)
    with chromium(browser_path) as browser:
        page = browser.new_page(viewport=REPORT, color_scheme="light")  # type: ignore[arg-type]  # a TypedDict's literal
        page.goto((folder / "runs/first/report.html").as_uri())
        save(page.screenshot(), OUT / "report.png")


def _show_outputs() -> None:
    example = (ROOT / "docs/example.png").read_bytes()
    with service() as url, httpx.Client(base_url=url, timeout=60) as client:
        overlay, instances = (
            decode_image(client.post("/segment", params={"output": output}, files={"file": example}).content)
            for output in ("overlay", "instances")
        )
    _save(cast(Pixels, overlay), "overlay", WIDTH)
    colours = [hsv_to_rgb(index * GOLDEN % 1, 0.5 + index % 3 / 8, 0.9) for index in range(int(instances.max()))]
    palette = np.rint(255 * np.array([(0, 0, 0), *colours])).astype(np.uint8)
    _save(palette[instances], "instances", WIDTH)


def _read(path: Path) -> Pixels:
    return cast(Pixels, decode_image(path.read_bytes()))


def _save(pixels: Pixels, name: str, width: int) -> None:
    """As many pixels wide, and as high as that makes it."""
    picture, png = Image.fromarray(pixels), io.BytesIO()
    picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS).save(png, "PNG")
    save(png.getvalue(), OUT / f"{name}.png")


if __name__ == "__main__":
    sys.exit(main())
