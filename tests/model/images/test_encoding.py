from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.images.decoding import decode_image
from model.images.encoding import encode_png, to_probability_image
from tests.support.image_files import BITS, GREY, GREY16, RGB, RGB16, RGBA, H, W


@pytest.mark.parametrize("pixels", [GREY, GREY16, RGB, RGB16, RGBA, GREY[:1, :1], GREY[::2, ::-3], RGB[::2, ::-1]])
def test_png_round_trips(pixels):
    decoded = decode_image(encode_png(pixels))
    assert decoded.dtype == pixels.dtype
    assert np.array_equal(decoded, pixels)


@pytest.mark.parametrize(("pixels", "mode"), [(GREY, "L"), (GREY16, "I;16"), (RGB, "RGB"), (RGBA, "RGBA")])
def test_other_programs_read_the_png(pixels, mode):
    image = Image.open(BytesIO(encode_png(pixels)))
    assert (image.format, image.mode, image.size) == ("PNG", mode, (W, H))
    assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("shape", [(700, 200, 3), (3, 40_000, 3)])
def test_png_round_trips_at_any_size_of_the_rows(shape):
    pixels = np.random.default_rng(0).integers(0, 65536, shape, np.uint16)
    assert np.array_equal(decode_image(encode_png(pixels)), pixels)


def test_masks_are_compressed():
    assert len(encode_png(BITS)) < BITS.nbytes / 5


@pytest.mark.parametrize(
    ("probability", "pixel"), [(0.0, 0), (1.0, 65535), (0.4 / 65535, 0), (0.6 / 65535, 1), (1 - 1e-7, 65535)]
)
def test_a_probability_is_rounded_to_16_bits(probability, pixel):
    image = to_probability_image(np.array([[probability]], np.float32))
    assert image.dtype == np.uint16
    assert image.item() == pixel


def test_every_16_bit_value_is_a_probability_and_comes_back():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(to_probability_image((every / 65535).astype(np.float32)), every)
