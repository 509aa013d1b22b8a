"""JPEG 2000 inside TIFF files: the size in its header, and a check that no part is missing."""

import struct

from model.images.image_errors import broken

# Start of the codestream and its size segment.
_START = b"\xff\x4f\xff\x51"
_END = b"\xff\xd9"


def check_jpeg_2000_part(data: bytes, most_pixels: int) -> None:
    """Raises ImageError if a strip or tile of a TIFF is too large or does not end; struct.error if it ends early."""
    at = data.find(_START, 0, 4096)
    if at < 0 or not data.rstrip(b"\0").endswith(_END):
        raise broken("TIFF")
    width, height, left, top, tile_width, tile_height = struct.unpack_from(">6I", data, at + 8)
    if not 0 < (width - left) * (height - top) <= most_pixels or tile_width * tile_height == 0:
        raise broken("TIFF")
