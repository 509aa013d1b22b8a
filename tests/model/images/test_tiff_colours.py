import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from model.images.decoding import decode_image
from model.images.headers import read_header
from model.images.image_errors import ImageError
from tests.support.image_files import BITS, GREY, RGB, RGBA, small_tiff, tiff


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [GREY, RGB])
def test_a_page_is_turned_as_its_orientation_asks(pixels, orientation):
    data = tiff(pixels, extratags=[(274, 3, 1, orientation, True)])
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(pixels)
    image.getexif().update(exif)
    decoded, header = decode_image(data), read_header(data)
    assert decoded.shape[:2] == (header.height, header.width)
    assert np.array_equal(decoded, np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_an_unknown_orientation_is_upright(orientation):
    assert decode_image(small_tiff((274, 3, 1, orientation))).tolist() == [[77]]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_fewer_than_8_bits_are_spread_over_0_to_255(bits):
    levels = np.arange(2**bits)
    packed = np.repeat(levels, 8).astype(np.uint8)
    rows = np.packbits(np.unpackbits(packed[:, None], axis=1)[:, -bits:].ravel())
    data = _grey_tiff(width=packed.size, bits=bits, row=rows.tobytes())
    assert np.array_equal(decode_image(data)[0], packed * (255 // (2**bits - 1)))


def test_12_bits_keep_their_values():
    values = np.arange(0, 4096, 64, dtype=np.uint16)
    bits = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 4:]
    data = _grey_tiff(width=values.size, bits=12, row=np.packbits(bits.ravel()).tobytes())
    decoded = decode_image(data)
    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded[0], values)


def _grey_tiff(width: int, bits: int, row: bytes) -> bytes:
    """One row of grey."""
    tags = {"width": (3, width), "bits": (3, bits), "sizes": (4, len(row))}
    at = len(small_tiff(**tags))
    return small_tiff(**tags, strips=(4, at)) + row


def test_colours_that_were_multiplied_by_their_opacity_are_divided_by_it():
    alpha = np.full_like(GREY, 128)
    stored = np.dstack([(RGB.astype(int) * 128 // 255).astype(np.uint8), alpha])
    decoded = decode_image(tiff(stored, photometric="rgb", extrasamples=["assocalpha"]))
    assert np.array_equal(decoded[:, :, 3], alpha)
    assert np.abs(decoded[:, :, :3].astype(int) - RGB).max() <= 2


def test_inks_become_colours_as_in_pillow():
    image = Image.fromarray(RGBA, "CMYK")
    inks = np.asarray(image)
    data = tiff(inks, photometric="separated", planarconfig="contig")
    assert np.abs(decode_image(data).astype(int) - np.asarray(image.convert("RGB"))).max() <= 1


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_ycbcr_without_jpeg_becomes_rgb(compression):
    image = Image.fromarray(RGB).convert("YCbCr")
    buffer = BytesIO()
    image.save(buffer, "TIFF", compression=compression)
    assert np.abs(decode_image(buffer.getvalue()).astype(int) - np.asarray(image.convert("RGB"))).max() <= 3


def test_a_palette_with_too_few_colours_is_an_error():
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(small_tiff((320, 3, 1, 0), photometric=(3, 3)))


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint32])
def test_white_is_zero_is_inverted_in_every_type(dtype):
    stored = (GREY if dtype == np.uint32 else GREY.astype(int) - 100).astype(dtype)
    decoded = decode_image(tiff(stored, photometric="miniswhite"))
    assert np.allclose(decoded, 1 - GREY / 255, atol=1e-6)


def test_1_bit_where_white_is_zero_is_inverted():
    data = tiff(BITS == 0, photometric="miniswhite")
    assert np.array_equal(decode_image(data), BITS)


def test_a_palette_of_1_bit_is_looked_up():
    colours = np.array([[10, 20, 30], [200, 100, 50]])
    entry = (320, 3, 6, (257 * colours.T).ravel().tolist(), True)
    data = tiff(BITS > 0, photometric="minisblack", extratags=[entry], metadata=None)
    grey, palette = (struct.pack("<HHIHH", 262, 3, 1, kind, 0) for kind in (1, 3))
    assert data.count(grey) == 1
    assert np.array_equal(decode_image(data.replace(grey, palette)), colours[(BITS > 0).astype(int)])
