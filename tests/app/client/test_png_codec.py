import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from app.client.png_codec import decode_png, encode_png
from model.images.decoding import decode_image
from model.images.encoding import encode_png as encode_png_of_service
from tests.support.image_files import GREY, GREY16, GREY_ALPHA, RGB, RGB16, RGBA, opencv, pillow, png_chunk

KINDS = [GREY, GREY16, RGB, RGB16, RGBA, GREY[:1, :1], GREY[::2, ::-3], RGB[::2, ::-1]]


@pytest.mark.parametrize("pixels", KINDS)
def test_other_programs_read_what_is_encoded(pixels):
    decoded = decode_image(encode_png(pixels))
    assert decoded.dtype == pixels.dtype
    assert np.array_equal(decoded, pixels)


@pytest.mark.parametrize("encode", [encode_png, encode_png_of_service])
@pytest.mark.parametrize("pixels", KINDS)
def test_arrays_round_trip(pixels, encode):
    decoded = decode_png(encode(pixels))
    assert decoded.dtype == pixels.dtype
    assert np.array_equal(decoded, pixels)


def test_files_of_other_programs_are_read():
    assert np.array_equal(decode_png(pillow(RGB, "PNG", optimize=True)), RGB)
    assert np.array_equal(decode_png(opencv(".png", RGB16)), RGB16)
    assert np.array_equal(decode_png(pillow(GREY_ALPHA[:, :, [0, 3]], "PNG")), GREY_ALPHA[:, :, [0, 3]])


@pytest.mark.parametrize("strategy", range(5))
@pytest.mark.parametrize("kind", ["SUB", "UP", "AVG", "PAETH"])
@pytest.mark.parametrize("pixels", [GREY, RGB, GREY16])
def test_every_filter_is_undone(pixels, kind, strategy):
    options = [cv2.IMWRITE_PNG_STRATEGY, strategy, cv2.IMWRITE_PNG_FILTER, getattr(cv2, f"IMWRITE_PNG_FILTER_{kind}")]
    stored = pixels[:, :, ::-1] if pixels.ndim == 3 else pixels
    data = cv2.imencode(".png", stored, options)[1].tobytes()
    assert np.array_equal(decode_png(data), pixels)


def test_a_cut_file_is_an_error():
    data = encode_png(RGB)
    for end in (20, 60, len(data) - 12):
        with pytest.raises((ValueError, zlib.error)):
            decode_png(data[:end])


def test_palettes_and_interlacing_are_refused():
    palette = BytesIO()
    Image.fromarray(RGB).quantize(16).save(palette, "PNG")
    with pytest.raises(ValueError, match="without palette"):
        decode_png(palette.getvalue())
    header = b"\0\0\0\1\0\0\0\1\x08\0\0\0\1"
    interlaced = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="interlacing"):
        decode_png(interlaced)
