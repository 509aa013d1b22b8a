"""Corrections by hand, in a real browser: what is drawn, is shown, counted and saved, pixel for pixel."""

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from model.inputs.preprocessing import Pixels
from model.outputs.objects import find_regions
from model.weights_file import load_weights, save_weights
from tests.end_to_end.browser import ask, expect_objects, give, read_canvas, read_mask, to_png
from tests.end_to_end.conftest import Server
from tests.end_to_end.hand import Hand, line
from tests.end_to_end.http import HTTP
from tests.support.small_net import save_small_net

OpenPage: TypeAlias = Callable[..., Page]
Serve: TypeAlias = Callable[..., Server]

SIZE = (100, 120)  # of the images here: height and width, pixels


@pytest.fixture
def image() -> Pixels:
    noise = cv2.GaussianBlur(np.random.default_rng(3).random(SIZE, np.float32), (0, 0), 1.5)
    spread: Any = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    return cast(Pixels, spread.astype(np.uint8))


@pytest.fixture
def saving(serve: Serve, tmp_path: Path) -> Server:
    """A server that saves labels in `labels`, and looks for other weights in `weights`."""
    save_small_net(tmp_path / "weights/first.safetensors")
    return serve(labels=tmp_path / "labels", weights=tmp_path / "weights", watch_s=0.1)


def _line(size: float, *points: tuple[int, int]) -> NDArray[np.bool_]:
    return line(SIZE, size, *points)


def _only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def _expect_count(page: Page, mask: NDArray[Any]) -> None:
    expect(page.locator("#count")).to_have_text(str(find_regions((mask > 0).astype(np.uint8)).max()))
    expect(page.locator("#share")).to_have_text(f"{100 * (mask > 0).mean():.1f}%")


def test_the_saved_label_is_what_was_drawn(saving: Server, open_page: OpenPage, image: Pixels, tmp_path: Path):
    page, data = open_page(saving.url), to_png(image)
    give(page, ("cells.png", data))
    expect_objects(page)
    before = read_canvas(page)
    mask = read_mask(ask(saving.url, data)) > 0
    hand = Hand(page, SIZE)
    ids = find_regions(mask.astype(np.uint8))
    false = 1 + int(np.argmax(np.bincount(ids.ravel())[1:]))
    y, x = np.argwhere(ids == false)[0]
    hand.use("Delete")
    hand.draw((x, y))
    mask[ids == false] = False
    _expect_count(page, mask)
    for tool, size, points in [
        ("Eraser", 81, [(40, 40), (80, 60)]),
        ("Brush", 21, [(35, 35), (50, 50)]),
        ("Brush", 11, [(80, 35)]),
        ("Merge", 5, [(50, 50), (65, 45), (80, 35)]),
        ("Split", 3, [(20, 60), (60, 20)]),
        ("Brush", 25, [(70, 65)]),
        ("Eraser", 9, [(70, 65)]),
    ]:
        hand.use(tool, size)
        hand.draw(*points)
        mask = mask & ~_line(size, *points) if tool in ("Eraser", "Split") else mask | _line(size, *points)
        _expect_count(page, mask)
    hand.use("Fill")
    hand.draw((70, 65))
    mask |= _line(9, (70, 65))
    _expect_count(page, mask)
    expect(page.locator("#images li .state")).to_have_text("Corrected, not saved")
    page.click("#save-training")
    expect(page.locator("#training-state")).to_have_text("Saved. The server has 1 pair.")
    expect(page.locator("#images li .state")).to_have_text("Corrected, saved")
    saved = np.array(Image.open(_only(tmp_path / "labels/label")))
    assert np.array_equal(saved, mask * np.uint8(255))
    assert _only(tmp_path / "labels/image").read_bytes() == data
    assert not np.array_equal(read_canvas(page), before)
    page.click("#discard")
    expect(page.locator("#images li .state")).to_have_text("Done")
    _expect_count(page, read_mask(ask(saving.url, data)))
    while page.locator("#redo").is_enabled():
        page.keyboard.press("Control+y")
    _expect_count(page, mask)


def test_corrections_are_lost_only_if_the_person_agrees(server: Server, open_page: OpenPage, image: Pixels):
    page = open_page(server.url)
    give(page, ("cells.png", to_png(image)))
    expect_objects(page)
    hand = Hand(page, SIZE)
    hand.use("Brush", 15)
    hand.draw((20, 20), (60, 60))
    expect(page.locator("#threshold")).to_be_disabled()
    questions: list[str] = []

    def answer(dialog: Any) -> None:
        questions.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", answer)
    page.get_by_role("button", name="Remove cells.png").click()
    page.evaluate("location.reload()")
    expect(page.locator("#images li .state")).to_have_text("Corrected, not saved")
    assert questions == ["confirm", "beforeunload"]
    page.keyboard.press("Control+z")
    expect(page.locator("#threshold")).to_be_enabled()
    page.get_by_role("button", name="Remove cells.png").click()
    expect(page.locator("#welcome")).to_be_visible()
    assert len(questions) == 2


def test_a_tool_that_cannot_act_says_why_and_changes_nothing(server: Server, open_page: OpenPage, image: Pixels):
    page = open_page(server.url)
    give(page, ("cells.png", to_png(image)))
    expect_objects(page)
    hand = Hand(page, SIZE)
    hand.use("Eraser", 99)
    hand.draw((0, 0), (119, 99), (119, 0), (0, 99))
    _expect_count(page, np.zeros(SIZE))
    for tool, reason in {"Fill": "not a hole", "Delete": "no object", "Merge": "Begin in one object"}.items():
        hand.use(tool)
        hand.draw((60, 50))
        expect(page.locator("#tool-problem")).to_contain_text(reason)
    page.click("#undo")
    expect(page.locator("#undo")).to_be_disabled()


def test_one_finger_draws_and_two_move_the_picture(server: Server, open_page: OpenPage, image: Pixels):
    page = open_page(server.url)
    give(page, ("cells.png", to_png(image)))
    expect_objects(page)
    hand = Hand(page, SIZE)
    hand.use("Eraser", 31)
    client = page.context.new_cdp_session(page)

    def touch(kind: str, *pixels: tuple[int, int]) -> None:
        places = hand.places(*pixels)
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (40, 40))
    touch("touchMove", (50, 40))
    touch("touchStart", (50, 40), (80, 70))
    touch("touchMove", (45, 40), (90, 80))
    touch("touchEnd")
    expect(page.locator("#undo")).to_be_disabled()
    page.click("#fit")
    touch("touchStart", (40, 40))
    touch("touchMove", (60, 40))
    touch("touchEnd")
    expect(page.locator("#undo")).to_be_enabled()
    _expect_count(page, (read_mask(ask(server.url, to_png(image))) > 0) & ~_line(31, (40, 40), (60, 40)))


def test_pages_of_a_stack_are_corrected_and_saved_one_by_one(
    serve_weights: Callable[[Path], Server], open_page: OpenPage, classes_path: Path, image: Pixels
):
    """The server saves no labels, so the pairs are kept for a ZIP file."""
    url = serve_weights(classes_path).url
    stack = io.BytesIO()
    pages = np.stack([image, image[::-1], image[:, ::-1]])
    tifffile.imwrite(stack, pages, photometric="minisblack")
    page = open_page(url)
    give(page, ("stack.tif", stack.getvalue()))
    expect_objects(page)
    masks = tifffile.imread(io.BytesIO(ask(url, stack.getvalue()).content))
    hand = Hand(page, SIZE)
    for index, value in ((1, 1), (2, 2)):
        page.locator("#page").fill(str(index + 1))
        expect(page.locator("#page-number")).to_have_text(f"{index + 1} of 3")
        expect_objects(page)
        hand.use("Brush", 15)
        page.select_option("#brush-class", str(value))
        hand.draw((30, 50), (90, 50))
        masks[index][_line(15, (30, 50), (90, 50))] = value
        page.click("#save-training")
        expect(page.locator("#training-state")).to_have_text(f"{index} to download.")
    page.locator("#page").fill("2")
    expect(page.locator("#corrected-hint")).to_be_visible()
    with page.expect_download() as started:
        page.click("#training-zip")
    with zipfile.ZipFile(started.value.path()) as archive:
        for index in (1, 2):
            name = f"stack-page-{index + 1}"
            record = json.loads(archive.read(f"provenance/{name}.json"))
            assert (record["kind"], record["classes"], record["page"]) == ("classes", 3, index)
            files = (Image.open(archive.open(f"{part}/{name}.png")) for part in ("image", "label"))
            saved, label = (np.array(file) for file in files)
            assert np.array_equal(saved, pages[index])
            assert np.array_equal(label, masks[index])
        assert len(archive.namelist()) == 6
    expect(page.locator("#images li .state")).to_have_text("Corrected, saved")


def test_an_open_page_follows_the_net_that_learned_from_its_corrections(
    saving: Server, open_page: OpenPage, image: Pixels, tmp_path: Path, wait_until: Callable[..., None]
):
    """The new net learned from numbered objects, so its corrections are saved as such."""
    page, data = open_page(saving.url), to_png(image)
    give(page, ("cells.png", data))
    expect_objects(page)
    made = save_small_net(tmp_path / "made/second.safetensors", seed=5)
    weights = load_weights(made)
    provenance = weights.description.provenance | {"label_format": "instances"}
    save_weights(made, weights.tensors, weights.description.model_copy(update={"provenance": provenance}))
    made.replace(tmp_path / "weights/second.safetensors")
    wait_until(lambda: HTTP.get(f"{saving.url}/model").json()["name"] == "second")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.get_by_role("button", name="Compute all again").click()
    expect(page.locator("#model")).to_have_text(re.compile("^second"))
    ids = find_regions((read_mask(ask(saving.url, data)) > 0).astype(np.uint8))
    expect(page.locator("#count")).to_have_text(str(ids.max()))
    hand = Hand(page, SIZE)
    hand.use("Split", 5)
    hand.draw((0, 50), (119, 50))
    page.click("#save-training")
    expect(page.locator("#training-state")).to_have_text("Saved. The server has 1 pair.")
    saved = np.array(Image.open(_only(tmp_path / "labels/label")))
    ids[_line(5, (0, 50), (119, 50))] = 0
    assert np.array_equal(saved > 0, ids > 0)
    assert saved.max() == find_regions((ids > 0).astype(np.uint8)).max()
    assert json.loads(_only(tmp_path / "labels/provenance").read_text())["kind"] == "instances"
