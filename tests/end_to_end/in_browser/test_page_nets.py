"""The page with a service of several nets, in a real browser."""

import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import tifffile
from playwright.sync_api import Page, expect

from model.images.encoding import encode_png
from model.inputs.card import Card, Example
from model.inputs.known_images import KnownImages
from model.inputs.preprocessing import Pixels, Preprocessing
from model.unet import UNet, UNetConfig
from model.weights_file import Description, save_weights
from tests.end_to_end.browser import ask, expect_figures, expect_objects, give, read_mask
from tests.end_to_end.conftest import Server
from tests.end_to_end.hand import Hand
from tests.end_to_end.http import HTTP
from tests.support.pictures import blobs
from tests.support.small_net import save_small_net

OpenPage: TypeAlias = Callable[..., Page]
WaitUntil: TypeAlias = Callable[[Callable[[], object]], None]

LABELS = {0: "background", 1: "nucleus", 2: "membrane"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pixels: Pixels) -> Path:
    """Weights of three nets: `cells`, the default, which knows coarse images; `blobs`, which has a card and knows fine
    images; `parts`, of three classes."""
    folder = tmp_path_factory.mktemp("nets") / "weights"
    example = Example.of(encode_png(pixels), encode_png(255 - pixels))
    card = Card(segments="Bright blobs on dark ground.", modality="fluorescence microscopy", not_for="Dark blobs.")
    save_small_net(folder / "parts.safetensors", seed=1, classes=3, labels=LABELS)
    coarse, fine = (
        KnownImages.of([blobs(seed, grain=grain) for seed in range(12)], Preprocessing()) for grain in (32, 4)
    )
    save_small_net(folder / "blobs.safetensors", seed=2, card=card, example=example, known_images=fine)
    save_small_net(folder / "cells.safetensors", known_images=coarse)
    for age, name in enumerate(("cells", "blobs", "parts")):
        os.utime(folder / f"{name}.safetensors", (10**9 - age, 10**9 - age))
    return folder


@pytest.fixture(scope="module")
def nets(start: Callable[..., Server], folder: Path) -> Iterator[Server]:
    """One server for all tests here; its memory holds one net at a time, so that others are loaded on request."""
    with ExitStack() as stack:
        settings = {"weights": folder, "labels": folder.parent / "labels", "watch_s": 0.1, "max_nets_bytes": 1}
        yield start(stack, engine="torch", tile=512, **settings)


def _expect_mask_of(page: Page, url: str, data: bytes, model: str) -> None:
    expect_figures(page, read_mask(ask(url, data, model=model)))
    expect(page.locator("#model")).to_have_text(re.compile(f"^{model} "))


def _states(page: Page) -> Any:
    return page.locator("#images .state")


def test_the_mask_is_that_of_the_chosen_net(nets: Server, open_page: OpenPage, png: bytes):
    page = open_page(nets.url)
    give(page, ("x.png", png))
    _expect_mask_of(page, nets.url, png, "cells")
    page.select_option("#net", "blobs")
    _expect_mask_of(page, nets.url, png, "blobs")
    assert page.url == f"{nets.url}/?model=blobs"
    page.get_by_label("Net", exact=True).select_option("parts")
    _expect_mask_of(page, nets.url, png, "parts")
    expect(page.locator("#legend li")).to_have_text(["nucleus", "membrane"])
    with page.expect_download() as started:
        page.get_by_role("button", name="Probability of membrane").click()
    expected = ask(nets.url, png, **{"output": "probability", "class": 2, "model": "parts"}).content
    assert started.value.path().read_bytes() == expected


def test_a_link_opens_the_page_with_its_net_if_it_is_served(nets: Server, open_page: OpenPage, png: bytes):
    page = open_page(nets.url)
    page.goto(f"{nets.url}/?model=parts")
    expect(page.locator("#net")).to_have_value("parts")
    page.goto(f"{nets.url}/?model=polyps")
    expect(page.locator("#net-notice")).to_contain_text("The net polyps is not served. This page uses cells.")
    assert page.url == f"{nets.url}/"
    give(page, ("x.png", png))
    _expect_mask_of(page, nets.url, png, "cells")


def test_cards_show_the_nets_and_choose_one(nets: Server, open_page: OpenPage):
    page = open_page(nets.url)
    card = page.locator("#nets li", has_text="blobs")
    for text in ("Bright blobs on dark ground.", "fluorescence microscopy; grey", "Dark blobs."):
        expect(card).to_contain_text(text)
    widths = "(images) => images.map((image) => image.decode().then(() => image.naturalWidth))"
    assert card.locator("img").evaluate_all(f"async (images) => Promise.all(({widths})(images))") == [70, 70]
    expect(page.locator("#nets li", has_text="parts")).to_contain_text("background, nucleus, and membrane")
    page.get_by_role("button", name="Use blobs").press("Enter")
    expect(page.locator("#net")).to_have_value("blobs")
    button = page.get_by_role("button", name="Use blobs")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(button).to_be_focused()


def test_other_images_are_computed_with_another_net_on_request(
    nets: Server, open_page: OpenPage, png: bytes, pixels: Pixels
):
    page, images = open_page(nets.url), [png, encode_png(255 - pixels)]
    give(page, *((f"{number}.png", data) for number, data in enumerate(images)))
    expect(_states(page)).to_have_text(["Done", "Done"])
    page.select_option("#net", "blobs")
    expect(_states(page)).to_have_text(["Done", "The net has changed"])
    expect(page.locator("#net-notice")).to_contain_text("The mask of one more image is of another net.")
    page.get_by_role("button", name="Compute all again").click()
    expect(_states(page)).to_have_text(["Done", "Done"])
    page.get_by_role("button", name="1.png Done").click()
    _expect_mask_of(page, nets.url, images[1], "blobs")
    expect(page.locator("#net-notice")).to_be_hidden()


def _erase(page: Page, pixels: Pixels) -> None:
    expect_objects(page)
    hand = Hand(page, (pixels.shape[0], pixels.shape[1]))
    hand.use("Eraser", 21)
    hand.draw((20, 20), (50, 100))
    expect(_states(page)).to_have_text("Corrected, not saved")


def test_another_net_asks_before_corrections_are_lost(nets: Server, open_page: OpenPage, png: bytes, pixels: Pixels):
    page, answers = open_page(nets.url), ["accept", "dismiss"]
    page.on("dialog", lambda dialog: getattr(dialog, answers.pop())())
    give(page, ("x.png", png))
    _erase(page, pixels)
    page.select_option("#net", "blobs")
    expect(page.locator("#net")).to_have_value("cells")
    expect(_states(page)).to_have_text("Corrected, not saved")
    page.select_option("#net", "blobs")
    _expect_mask_of(page, nets.url, png, "blobs")
    assert answers == []


def test_corrections_are_saved_for_the_net_of_their_mask(
    nets: Server, open_page: OpenPage, folder: Path, png: bytes, pixels: Pixels
):
    page = open_page(nets.url)
    page.select_option("#net", "blobs")
    give(page, ("x.png", png))
    _erase(page, pixels)
    page.click("#save-training")
    expect(_states(page)).to_have_text("Corrected, saved")
    [record] = (json.loads(path.read_text()) for path in (folder.parent / "labels/provenance").iterdir())
    assert record["weights"].startswith("blobs@")
    page.select_option("#net", "parts")  # without a question: nothing would be lost
    _expect_mask_of(page, nets.url, png, "parts")


def test_the_page_follows_nets_that_come_and_go(
    nets: Server, open_page: OpenPage, folder: Path, png: bytes, wait_until: WaitUntil
):
    def names() -> list[str]:
        return [model["name"] for model in HTTP.get(f"{nets.url}/models").json()["models"]]

    page = open_page(nets.url, refused=True)
    give(page, ("x.png", png))
    expect_objects(page)
    extra = save_small_net(folder.parent / "made/extra.safetensors", seed=3)
    os.utime(extra, (10**8, 10**8))
    extra = extra.replace(folder / extra.name)
    wait_until(lambda: "extra" in names())
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.locator("#net-notice").get_by_role("button", name="Use extra").click()
    _expect_mask_of(page, nets.url, png, "extra")
    extra.unlink()
    wait_until(lambda: "extra" not in names())
    give(page, ("y.png", png))  # the service refuses it, and the page sends it again
    expect(page.locator("#net-notice")).to_contain_text("The net extra is not served. This page uses cells@")
    expect(_states(page)).to_have_text(["The net has changed", "Done"])
    assert page.url == f"{nets.url}/"


def test_a_doubt_offers_the_net_that_knows_such_images(nets: Server, open_page: OpenPage):
    page, data = open_page(nets.url), encode_png(blobs(50, grain=4))
    give(page, ("x.png", data))
    doubt = page.locator("#doubt")
    expect(doubt).to_contain_text("The image looks unlike the images that cells was trained on: finer structures.")
    expect(doubt).to_contain_text("It looks like the images that blobs learned from.")
    expect(doubt.get_by_role("button")).to_have_text(["Try blobs"])
    doubt.get_by_role("button").click()
    expect(doubt).to_be_hidden()
    _expect_mask_of(page, nets.url, data, "blobs")


@pytest.fixture
def two_channels(start: Callable[..., Server], folder: Path, tmp_path: Path) -> Iterator[Server]:
    """A service with the net `pairs`, which takes two channels at once, beside `cells`, the default."""
    net = UNet(UNetConfig(in_channels=2, width=4, depth=2)).eval()
    described = Description(name="pairs", architecture=net.config, preprocessing=Preprocessing(channels="stored"))
    weights = tmp_path / "weights"
    weights.mkdir()
    save_weights(weights / "pairs.safetensors", net.state_dict(), described)
    shutil.copy(folder / "cells.safetensors", weights)
    os.utime(weights / "pairs.safetensors", (10**9, 10**9))
    with ExitStack() as stack:
        yield start(stack, engine="torch", tile=512, weights=weights, labels=tmp_path / "labels")


def test_a_net_of_two_channels_gets_both_and_saves_no_single_one(
    two_channels: Server, open_page: OpenPage, pixels: Pixels
):
    out = io.BytesIO()
    tifffile.imwrite(out, np.stack([pixels, 255 - pixels]), ome=True, metadata={"axes": "CYX"})
    page = open_page(two_channels.url)
    give(page, ("x.ome.tif", out.getvalue()))
    expect_objects(page)
    page.select_option("#channel", index=1)
    expect_objects(page)
    page.select_option("#net", "pairs")
    expect(page.locator("#model")).to_have_text(re.compile("^pairs "))
    expect(_states(page)).to_have_text("Done")
    page.click("#correct")
    page.click("#save-training")
    expect(page.get_by_role("alert")).to_contain_text("takes several channels of the file at once")
