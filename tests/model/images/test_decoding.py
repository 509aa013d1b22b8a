import os
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from model.images.decoding import SUFFIXES, TIFF_SUFFIXES, decode_image, decode_pages
from model.images.headers import read_header
from model.images.image_errors import ImageError
from tests.support.image_files import (
    EXACT,
    FILES,
    LAST_BYTE_SPARE,
    LOSSY,
    RGB,
    SMOOTH,
    WITHOUT_RANGE,
    H,
    W,
    opencv,
    pillow,
)


@pytest.mark.parametrize("name", EXACT)
def test_lossless_files_give_their_pixels(name):
    data, expected = EXACT[name]
    pixels = decode_image(data)
    assert (pixels.shape, pixels.dtype) == (expected.shape, expected.dtype)
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize("name", WITHOUT_RANGE)
def test_pixels_without_a_range_become_0_to_1(name):
    data, given = WITHOUT_RANGE[name]
    pixels = decode_image(data)
    assert pixels.dtype == np.float32
    expected = (given - float(given.min())) / (float(given.max()) - float(given.min()))
    assert np.allclose(pixels, expected, atol=1e-6)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_give_nearly_their_pixels(name):
    data, expected = LOSSY[name]
    pixels = decode_image(data)
    assert pixels.shape == expected.shape
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("name", FILES)
def test_pixels_may_be_written_to_and_lie_in_one_piece(name):
    pixels = decode_image(FILES[name])
    assert pixels.flags.c_contiguous
    pixels[...] = 0


@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize(
    "name", [name for name in FILES if name not in ("tiff pages, first", "tiff of pages, a mask and a copy")]
)
def test_a_truncated_file_is_an_error_whichever_part_is_missing(name, part):
    with pytest.raises(ImageError, match=r"broken or truncated|not an image"):
        decode_image(FILES[name][: int(len(FILES[name]) * part)])


@pytest.mark.parametrize("name", [name for name in FILES if name not in LAST_BYTE_SPARE])
def test_even_one_missing_byte_is_an_error(name):
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(FILES[name][:-1])


@pytest.mark.parametrize("name", FILES)
def test_bytes_after_the_picture_do_not_matter(name):
    assert np.array_equal(decode_image(FILES[name] + b"\0" * 100), decode_image(FILES[name]))


@pytest.mark.parametrize("function", [read_header, decode_image, decode_pages])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_gives_an_image_or_an_image_error(function, name):
    random = np.random.default_rng(len(name))
    for _ in range(15):
        damaged = bytearray(FILES[name])
        # headers lie at the start; a TIFF's may lie at the end
        places = random.integers(8, min(len(damaged), 200), 3).tolist()
        places += random.integers(max(8, len(damaged) - 300), len(damaged), 3).tolist()
        for place in places:
            damaged[place] = random.choice((0, 1, 255, int(random.integers(256))))
        with suppress(ImageError):
            if read_header(bytes(damaged)).pixels < 10_000_000:
                function(bytes(damaged))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_rotation_in_the_exif_data_is_not_applied(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = pillow(SMOOTH, kind, exif=exif)
    assert decode_image(data).shape[:2] == (read_header(data).height, read_header(data).width) == (H, W)


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".dcm"])  # OpenCV writes no DICOM
def test_each_suffix_names_an_accepted_format(suffix):
    writable = ".tif" if suffix in TIFF_SUFFIXES else suffix
    assert decode_image(opencv(writable, RGB)).shape == RGB.shape


HASHES_OF_DAMAGED_FILES = """
import hashlib, sys
import numpy as np
from model.images.headers import read_header
from model.images.image_errors import ImageError
from model.images.decoding import decode_pages
from tests.support.image_files import FILES
for name, data in FILES.items():
    random = np.random.default_rng(7)
    for _ in range(40):
        start = int(random.integers(8, len(data)))
        damaged = data[:start] + bytes(60) + data[start + int(random.choice((0, 60, 100))) :]
        try:
            if read_header(damaged).pixels < 1_000_000:
                print(name, *(hashlib.md5(page.tobytes()).hexdigest() for page in decode_pages(damaged)))
        except ImageError:
            pass
"""


def test_no_pixel_is_what_was_in_memory_before():
    def run(filling: int) -> str:
        # what malloc of glibc fills memory with; no other system's takes notice
        environment = os.environ | {"MALLOC_PERTURB_": str(filling)}
        command = [sys.executable, "-c", HASHES_OF_DAMAGED_FILES]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert run(85) == run(170) != ""
