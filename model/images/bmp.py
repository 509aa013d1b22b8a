"""BMP files: size in the header."""

import struct

from model.images.image_errors import UnsupportedImage, broken

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
