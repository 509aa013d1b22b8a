"""`GET /models/{name}/example/{picture}`: pictures that show what a net is for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from model.images.encoding import encode_png
from model.inputs.card import Card, Example
from tests.support.small_net import save_small_net

IMAGE, MASK = (encode_png(np.full((12, 16), value, np.uint8)) for value in (7, 255))


@pytest.fixture
def shown(serve: Callable[..., TestClient], tmp_path: Path) -> TestClient:
    """An application whose net `shown` has a card and an example."""
    card = Card(segments="Bright blobs.", modality="fluorescence microscopy")
    path = save_small_net(tmp_path / "shown.safetensors", card=card, example=Example.of(IMAGE, MASK))
    return serve(weights=path)


def test_the_pictures_of_an_example_come_byte_for_byte(shown: TestClient):
    image, mask = (shown.get(f"/models/shown/example/{picture}.png") for picture in ("image", "mask"))
    assert (image.status_code, image.content, mask.content) == (200, IMAGE, MASK)
    assert image.headers["content-type"] == "image/png"


def test_a_picture_is_sent_again_only_after_the_net_has_changed(shown: TestClient):
    path = "/models/shown/example/image.png"
    etag = shown.get(path).headers["etag"]
    assert etag == f'"{shown.get("/model").json()["sha256"]}"'
    known = shown.get(path, headers={"If-None-Match": f'"0", W/{etag}'})
    assert (known.status_code, known.content) == (304, b"")
    assert shown.get(path, headers={"If-None-Match": '"0"'}).status_code == 200


def test_a_net_is_described_by_its_card_without_the_pictures(shown: TestClient):
    model = shown.get("/model").json()
    assert model["card"]["segments"] == "Bright blobs."
    assert model["has_example"] is True
    assert "example" not in model
    assert shown.get("/models").json()["models"] == [model]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("small-net/example/image.png", 404, "hold no example"),
        ("nothing/example/image.png", 404, "no model nothing"),
        ("small-net/example/table.csv", 422, "'image.png' or 'mask.png'"),
    ],
)
def test_a_missing_example_is_a_problem_that_names_it(
    client: TestClient, check_problem: Callable[..., dict[str, Any]], path: str, status: int, words: str
):
    assert words in check_problem(client.get(f"/models/{path}"), status)["detail"]
    assert client.get("/model").json()["card"] is None
