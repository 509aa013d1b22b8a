import struct
import subprocess
import sys
import zlib
from itertools import pairwise

import cv2
import numpy as np
import pytest

from model.images.decoding import decode_image
from model.images.headers import read_header
from model.images.image_errors import ImageError, UnsupportedImage
from model.images.png import INFLATED_BYTES, INFLATED_CHUNKS, MAX_CHUNKS, SIGNATURE
from tests.support.image_files import FILES, W, png_chunk

GREY_8 = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
ROWS_8 = np.pad(GREY_8, ((0, 0), (1, 0))).tobytes()

# First row and column of each pass of an interlaced picture, and the steps to the next ones.
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]

MEMORY_OF = """
import resource, sys
from model.images.image_errors import ImageError
from model.images.decoding import decode_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_image(sys.stdin.buffer.read())
except ImageError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_png_chunk_that_claims_4_gb_is_refused_without_memory():
    whole = FILES["png grey"]
    at = whole.index(b"IDAT")
    data = whole[: at - 4] + b"\xff\0\0\x76" + whole[at:]
    process = subprocess.run([sys.executable, "-c", MEMORY_OF], input=data, capture_output=True, check=True)
    assert int(process.stdout) < 50_000  # KiB


def test_a_png_of_too_many_chunks_is_refused():
    whole = FILES["png grey"]
    data = whole[:33] + png_chunk(b"vpAg", b"") * (MAX_CHUNKS + 1) + whole[33:]
    assert read_header(data).width == W
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_CHUNKS} chunks"):
        decode_image(data)


@pytest.mark.parametrize("width", [0, 2**31])
def test_a_png_of_no_possible_width_is_not_decoded(width):
    data = FILES["png grey"]
    data = data[:16] + struct.pack(">I", width) + data[20:]
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(data)


def grey_png(*chunks, interlaced=0):
    """8 x 8 pixels of 8 bits."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, interlaced)
    return SIGNATURE + png_chunk(b"IHDR", header) + b"".join(chunks) + png_chunk(b"IEND", b"")


def pixel_chunks(rows, count=1):
    """Chunks of about equal length that hold the compressed rows."""
    stream = zlib.compress(rows)
    bounds = [index * len(stream) // count for index in range(count + 1)]
    return [png_chunk(b"IDAT", stream[start:end]) for start, end in pairwise(bounds)]


def opencv_reads(data):
    """Returns the pixels as OpenCV reads the whole file; None if it refuses the file."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def we_read(data):
    """Returns the decoded pixels; None if the file is refused."""
    try:
        return decode_image(data)
    except ImageError:
        return None


@pytest.mark.parametrize("kind", ["NONE", "SUB", "UP", "AVG", "PAETH"])
@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3), (2100, 2100)])
def test_png_of_each_filter_is_decoded(kind, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    options = [cv2.IMWRITE_PNG_FILTER, getattr(cv2, f"IMWRITE_PNG_FILTER_{kind}")]
    data = cv2.imencode(".png", pixels, options)[1].tobytes()
    assert (len(data) > INFLATED_BYTES) == (shape == (2100, 2100))
    assert np.array_equal(decode_image(data), pixels[..., ::-1] if len(shape) == 3 else pixels)


@pytest.mark.parametrize("count", [1, 2, 60])
def test_pixels_in_several_chunks_are_joined(count):
    assert np.array_equal(decode_image(grey_png(*pixel_chunks(ROWS_8, count))), GREY_8)


def test_pixels_after_a_thousand_empty_chunks_are_decoded():
    empty = [png_chunk(b"IDAT", b"")] * INFLATED_CHUNKS
    assert np.array_equal(decode_image(grey_png(*empty, *pixel_chunks(ROWS_8))), GREY_8)


def test_an_interlaced_png_is_decoded():
    passes = [GREY_8[y::dy, x::dx] for y, x, dy, dx in ADAM7]
    rows = b"".join(np.pad(each, ((0, 0), (1, 0))).tobytes() for each in passes)
    assert np.array_equal(decode_image(grey_png(*pixel_chunks(rows), interlaced=1)), GREY_8)


@pytest.mark.parametrize("rows", [ROWS_8[:-9], ROWS_8[:-1], ROWS_8 + b"\0", 9 * ROWS_8, b"\5" + ROWS_8[1:]])
def test_missing_or_further_bytes_and_unknown_filters_are_left_to_opencv(rows):
    data = grey_png(*pixel_chunks(rows))
    assert_same(we_read(data), opencv_reads(data))


def test_pixels_that_are_not_in_sequence_are_left_to_opencv():
    first, second = pixel_chunks(ROWS_8, 2)
    data = grey_png(first, png_chunk(b"PLTE", bytes(3)), second)
    assert_same(we_read(data), opencv_reads(data))


@pytest.mark.parametrize("at", range(16, len(grey_png(*pixel_chunks(ROWS_8, 2)))))
def test_a_changed_byte_of_a_png_is_judged_as_by_opencv(at):
    data = bytearray(grey_png(*pixel_chunks(ROWS_8, 2)))
    data[at] ^= 0x10
    assert_same(we_read(bytes(data)), opencv_reads(bytes(data)))


def assert_same(ours, theirs):
    assert (ours is None) == (theirs is None)
    assert ours is None or np.array_equal(ours, theirs)
