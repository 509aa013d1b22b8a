import struct
import subprocess
import sys

import pytest

from model.images.decoding import decode_image
from model.images.headers import read_header
from model.images.image_errors import ImageError, UnsupportedImage
from model.images.png import MAX_CHUNKS
from tests.support.image_files import FILES, W, png_chunk

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
