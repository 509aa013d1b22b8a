"""Tests model cards: texts and examples are limited, because weights may come from anyone."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from model.images.encoding import encode_png
from model.inputs.card import MAX_BYTES, MAX_SIDE, Card, Example
from model.weights_file import Description, load_weights, save_weights


def picture(height: int = 12, width: int = 16, value: int = 0) -> bytes:
    return encode_png(np.full((height, width), value, np.uint8))


def noise(side: int) -> bytes:
    return encode_png(np.random.default_rng(0).integers(0, 256, (side, side), np.uint8))


def refusal(image: bytes, mask: bytes) -> str:
    with pytest.raises(ValidationError) as refused:
        Example.of(image, mask)
    return refused.value.errors()[0]["msg"]


def test_card_and_example_are_saved_and_loaded_byte_for_byte(make_net, describe, tmp_path):
    net = make_net()
    example = Example.of(picture(value=7), picture(value=255))
    card = Card(segments="Cells.", modality="light", pixel_size_um=0.25, not_for="Tissue.")
    save_weights(tmp_path / "w.safetensors", net.state_dict(), describe(net, card=card, example=example))
    loaded = load_weights(tmp_path / "w.safetensors").description
    assert loaded.card == card
    assert loaded.example
    assert loaded.example.image == picture(value=7)
    assert loaded.example.mask == picture(value=255)


def test_description_from_before_cards_is_loaded(make_net, describe):
    old = json.loads(describe(make_net()).model_dump_json(exclude={"card", "example"}))
    assert Description.model_validate(old).card is None


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31m", "a\u2028b", "x" * 301])
def test_text_that_is_no_short_line_is_refused(text):
    with pytest.raises(ValidationError, match="segments"):
        Card(segments=text)


@pytest.mark.parametrize("size", [0, -1, float("inf"), float("nan")])
def test_pixel_size_that_is_no_length_is_refused(size):
    with pytest.raises(ValidationError, match="pixel_size_um"):
        Card(pixel_size_um=size)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (b"", "empty"),
        (b"no picture at all", "not an image"),
        (picture()[:-20], "broken or truncated"),
        (b"BM" + picture()[2:], "broken or truncated"),
        (picture(height=MAX_SIDE + 1), f"at most {MAX_SIDE} x {MAX_SIDE}"),
        (noise(MAX_SIDE) + bytes(MAX_BYTES), "bytes"),
        (picture(height=13), "equal sizes"),
    ],
)
def test_picture_that_is_no_small_png_is_refused(image, expected):
    assert expected in refusal(image, picture())


def test_pictures_that_are_too_large_together_are_refused():
    assert f"{MAX_BYTES} together" in refusal(noise(150), noise(150))


def test_largest_example_is_accepted():
    Example.of(noise(MAX_SIDE), encode_png(np.zeros((MAX_SIDE, MAX_SIDE), np.uint8)))


def test_example_is_not_printed(make_net, describe):
    description = describe(make_net(), example=Example.of(picture(), picture()))
    assert "PNG" not in repr(description)
