"""Other nets are suggested for an image that looks unlike the training images of the chosen net."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient

from model.images.encoding import encode_png
from model.inputs.known_images import KnownImages
from model.inputs.preprocessing import Preprocessing
from tests.support.pictures import blobs
from tests.support.small_net import save_small_net

DOUBT = "The image looks unlike the images that {} was trained on: "


@pytest.fixture(scope="module")
def client(start: Callable[..., TestClient], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """An application with a net for coarse blobs, a net for fine ones, and a net that knows no images."""
    folder = tmp_path_factory.mktemp("nets")
    for age, (name, grain) in enumerate({"coarse": 32, "fine": 4, "unknown": 0}.items()):
        images = [blobs(seed, grain=grain) for seed in range(12)] if grain else []
        known = KnownImages.of(images, Preprocessing()) if images else None
        path = save_small_net(folder / f"{name}.safetensors", seed=age, known_images=known)
        os.utime(path, (1000 - age, 1000 - age))
    with ExitStack() as stack:
        yield start(stack, weights=folder, watch_s=0, engine="torch")


def _notice(client: TestClient, grain: int, model: str) -> str:
    response = client.post("/segment", params={"model": model}, files={"file": encode_png(blobs(50, grain=grain))})
    assert response.status_code == 200, response.text
    notice: str = response.headers.get("x-notice", "")
    return notice


@pytest.mark.parametrize(("grain", "model", "other"), [(4, "coarse", "fine"), (32, "fine", "coarse")])
def test_a_doubt_names_the_net_that_knows_such_images(client: TestClient, grain: int, model: str, other: str):
    notice = _notice(client, grain, model)
    assert notice.startswith(DOUBT.format(model))
    assert notice.endswith(f" Nets that were trained on such images: {other}.")


def test_an_image_that_suits_its_net_has_no_suggestion(client: TestClient):
    assert _notice(client, 32, "coarse") == _notice(client, 4, "fine") == ""


def test_a_net_that_knows_no_images_neither_doubts_nor_is_suggested(client: TestClient):
    assert _notice(client, 4, "unknown") == ""
    assert "unknown" not in _notice(client, 4, "coarse")
