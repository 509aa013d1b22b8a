"""BMP files: size in the header, and decoding."""

import struct
from io import BytesIO

import numpy as np
from PIL import Image

from model.images.image_errors import UnsupportedImage, broken
from model.inputs.preprocessing import Pixels

# Pillow's modes, and those that they are given in.
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}

_BMP_HEADERS = (40, 52, 56, 64, 108, 124)  # sizes of their versions, besides the first


def bmp_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels.

    Raises ImageError; UnsupportedImage if the pixels are compressed; struct.error if the file ends too early.
    """
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return width, height
    if size not in _BMP_HEADERS:
        raise broken("BMP")
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    # compressions 1 and 2 may skip pixels; then a missing part cannot be told from an intended gap
    if compression not in (0, 3):
        raise UnsupportedImage("BMP files are accepted uncompressed.")
    return width, abs(height)  # a negative height: rows from top to bottom


def decode_bmp(data: bytes) -> Pixels:
    """The picture, H x W, H x W x 3, or H x W x 4 if a bit mask says which bits are alpha.

    By Pillow, because OpenCV takes 24 bits of OS/2's first version for grey. Raises UnsupportedImage; OSError if a part
    of the picture is missing.
    """
    try:
        image = Image.open(BytesIO(data), formats=["BMP"])
    except OSError as error:
        if "bitfields" in str(error):
            raise UnsupportedImage("BMP files are accepted with the usual bit masks of 16, 24 or 32 bits.") from error
        raise
    with image:
        return np.array(image.convert(_MODES[image.mode]))
