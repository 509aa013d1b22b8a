import struct

import numpy as np
import pytest

from model.images.decoding import decode_image
from model.images.headers import read_header
from model.images.image_errors import ImageError, UnsupportedImage
from tests.support.image_files import FILES


@pytest.mark.parametrize("compression", [1, 2, 4, 5])
def test_a_compressed_bmp_is_refused(compression):
    data = FILES["bmp grey"]
    with pytest.raises(UnsupportedImage, match="accepted uncompressed"):
        read_header(data[:30] + struct.pack("<I", compression) + data[34:])


def _bmp(bits: int, body: bytes, masks: tuple[int, ...] = (), header: int = 40) -> bytes:
    """A BMP of 8 x 4 pixels, of these rows from bottom to top."""
    if header == 12:
        info = struct.pack("<IHHHH", 12, 8, 4, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, 8, 4, 1, bits, 3 if masks else 0, 0, 0, 0, 0, 0)
        info += b"".join(struct.pack("<I", mask) for mask in masks)
        info = info.ljust(header, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(body), 0, 0, 14 + len(info)) + info + body


COLOURS = np.random.default_rng(0).integers(0, 256, (4, 8, 4), np.uint8)


def test_the_first_version_of_os2_holds_colours():
    found = decode_image(_bmp(24, COLOURS[::-1, :, 2::-1].tobytes(), header=12))
    assert np.array_equal(found, COLOURS[:, :, :3])


@pytest.mark.parametrize("header", [40, 56, 108, 124])
@pytest.mark.parametrize(
    ("masks", "order"),
    [
        ((0xFF0000, 0xFF00, 0xFF), (2, 1, 0, 3)),
        ((0xFF000000, 0xFF0000, 0xFF00), (3, 2, 1, 0)),
    ],
)
def test_bit_masks_of_32_bits_say_where_the_colours_are(masks, order, header):
    stored = np.empty_like(COLOURS)
    stored[:, :, [order[0], order[1], order[2]]] = COLOURS[:, :, :3]
    stored[:, :, order[3]] = 0
    found = decode_image(_bmp(32, stored[::-1].tobytes(), masks, header))
    assert np.array_equal(found[:, :, :3], COLOURS[:, :, :3])


@pytest.mark.parametrize(("masks", "bits"), [((0xF800, 0x7E0, 0x1F), (5, 6, 5)), ((0x7C00, 0x3E0, 0x1F), (5, 5, 5))])
def test_bit_masks_of_16_bits_say_how_many_bits_a_colour_has(masks, bits):
    red, green, blue = (COLOURS[:, :, i].astype(np.uint16) >> (8 - bits[i]) for i in range(3))
    stored = (red << (bits[1] + bits[2])) | (green << bits[2]) | blue
    found = decode_image(_bmp(16, stored[::-1].tobytes(), masks))
    full = [each * 255.0 / (2**count - 1) for each, count in zip((red, green, blue), bits, strict=True)]
    expected = np.rint(np.stack(full, axis=-1))
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_unusual_bit_masks_are_refused():
    with pytest.raises(UnsupportedImage, match="usual bit masks"):
        decode_image(_bmp(32, COLOURS.tobytes(), (0x3FF00000, 0xFFC00, 0x3FF)))


@pytest.mark.parametrize("header", [12, 40])
def test_a_bmp_that_lacks_rows_is_broken(header):
    whole = _bmp(24, COLOURS[:, :, :3].tobytes(), header=header)
    for missing in (1, 24, 90):
        with pytest.raises(ImageError, match="broken or truncated"):
            decode_image(whole[:-missing])
