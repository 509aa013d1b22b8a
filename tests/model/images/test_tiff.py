import lzma
import struct
import subprocess
import sys
import zlib
from functools import partial
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from model.images.decoding import decode_image, decode_pages
from model.images.image_errors import ImageError
from tests.support.image_files import GREY, GREY16, GREY_ALPHA, LARGE, RGB, RGB16, RGBA, pillow, small_tiff, tiff


@pytest.mark.parametrize("stack", [np.stack([GREY, 255 - GREY, GREY // 2]), np.stack([GREY16, GREY16 // 2])])
def test_every_page_of_a_tiff_is_given(stack):
    pages = decode_pages(tiff(stack, photometric="minisblack"))
    assert len(pages) == len(stack)
    assert np.array_equal(np.stack(pages), stack)


@pytest.mark.parametrize("missing", [400, 1500])
def test_a_stack_whose_last_page_is_truncated_is_an_error(missing):
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_pages(tiff(np.stack([GREY] * 3), photometric="minisblack")[:-missing])


def test_alpha_of_a_tiff_does_not_change_its_colours():
    data = pillow(RGBA, "TIFF", save_all=True, append_images=[Image.fromarray(255 - RGBA)])
    first, second = decode_pages(data)
    assert np.array_equal(first, RGBA)
    assert np.array_equal(second, 255 - RGBA)


def strips_of(compression: str) -> tuple[bytes, int, int, int]:
    """A TIFF; where one of its strips lies, how long it is, and where that is said."""
    data = tiff(LARGE, photometric="rgb", compression=compression, rowsperstrip=16)
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        size = page.tags[279]
        assert size.dtype == 4
        return data, page.dataoffsets[5], page.databytecounts[5], size.valueoffset + 5 * 4


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "jpeg"])
def test_a_tiff_one_of_whose_strips_is_too_short_is_an_error(compression):
    data, _, size, place = strips_of(compression)
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(data[:place] + struct.pack("<I", size // 2) + data[place + 4 :])


@pytest.mark.parametrize("compression", ["lzw", "zlib", "jpeg"])
def test_a_tiff_one_of_whose_strips_is_damaged_is_an_error(compression):
    data, start, size, _ = strips_of(compression)
    middle = start + size // 2
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(data[:middle] + bytes(range(200, 255)) * 2 + data[middle + 110 :])


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("pixels", [RGB, RGB16], ids=["8 bits", "16 bits"])
def test_a_tiff_of_colours_whose_tag_says_grey_is_read_in_colours(pixels, compression, byteorder):
    pages = [pixels, 255 - pixels]
    tags: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig", "compression": compression}
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=byteorder) as writer:
        for page in pages:
            writer.write(page, **tags)
    decoded = decode_pages(buffer.getvalue())
    assert all(np.array_equal(*pair) for pair in zip(decoded, pages, strict=True))


def test_a_tiff_of_grey_and_alpha_becomes_colours_with_alpha():
    data = pillow(np.stack([GREY, RGBA[:, :, 3]], axis=-1), "TIFF")
    assert np.array_equal(decode_image(data), GREY_ALPHA)


BOMB = """
import resource, sys
from model.images.decoding import decode_image
from model.images.image_errors import ImageError
data = sys.stdin.buffer.read()
from tests.support.image_files import GREY, tiff
decode_image(tiff(GREY, compression=sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(decode_image(data).shape)
except ImageError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("compression", ["zlib", "zstd", "lzma", "lzw"])
def test_a_strip_that_unpacks_to_gigabytes_takes_no_memory(compression):
    codes: dict[str, tuple[int, Any]] = {
        "zlib": (8, zlib.compress),
        "zstd": (50000, imagecodecs.zstd_encode),
        "lzma": (34925, partial(lzma.compress, preset=0)),
        "lzw": (5, imagecodecs.lzw_encode),
    }
    code, pack = codes[compression]
    packed = bytes(pack(bytes(200_000_000 if compression != "lzw" else 20_000_000)))
    tags = {"compression": (3, code), "sizes": (4, len(packed))}
    data = small_tiff(**tags, strips=(4, len(small_tiff(**tags)))) + packed
    command = [sys.executable, "-c", BOMB, compression]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    result, grown = done.stdout.decode().splitlines()
    assert result in ("(1, 1)", "The TIFF file is broken or truncated.")
    assert int(grown) < 20


def test_a_damaged_number_of_samples_is_an_error():
    """tifffile and the header read a tag with too many numbers differently."""
    data = bytearray(tiff(RGBA, photometric="rgb"))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    samples = next(at for at in range(first + 2, first + 2 + 12 * count, 12) if data[at : at + 2] == b"\x15\x01")
    struct.pack_into("<HII", data, samples + 2, 3, 100, 4)  # from where the place of the directory is stored: 8, 0
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(bytes(data))
