"""WebP files: size in the header, and whether the compression changed the pixels."""

import struct

from model.images.image_errors import UnsupportedImage, broken

# Far more than any program writes.
MAX_CHUNKS = 2**17


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels. Raises ImageError; struct.error or IndexError if the file ends too early."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and data[20] == 0x2F:
        (packed,) = struct.unpack_from("<I", data, 21)
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise broken("WEBP")


def webp_is_lossy(data: bytes) -> bool:
    """Returns True if the picture is compressed with loss. Raises UnsupportedImage for too many chunks."""
    at = 12
    for _ in range(MAX_CHUNKS):
        kind = data[at : at + 4]
        if kind in (b"VP8 ", b"VP8L", b""):
            return kind == b"VP8 "
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    raise UnsupportedImage(f"WebP files of more than {MAX_CHUNKS} chunks are not accepted.")
