"""PNG files: size in the header, and decoding without the chunks that hold no pixels."""

import struct
from collections.abc import Iterator
from itertools import islice

from zlib_ng import zlib_ng

from model.images.image_errors import UnsupportedImage, broken
from model.images.opencv import decode_by_opencv
from model.inputs.preprocessing import Pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Far more than any program writes: chunks are of 8 KB or larger.
MAX_CHUNKS = 2**17


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels. Raises ImageError; struct.error if the file ends too early."""
    if data[8:16] != b"\0\0\0\x0dIHDR":
        raise broken("PNG")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def make_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk: the length of its data, its kind of four letters, its data, and a checksum of both."""
    checksum = zlib_ng.crc32(data, zlib_ng.crc32(kind))
    return b"".join([struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)])


def decode_png(data: bytes) -> Pixels:
    """The picture, H x W or H x W x 3 or 4. Raises ImageError, ValueError, cv2.error."""
    return decode_by_opencv(_only_pixels(data))


def _only_pixels(data: bytes) -> bytes:
    """The file without the chunks that make no pixel of its picture: text, profiles, the other frames of an animation.

    OpenCV allocates what a chunk claims, up to 4 GB, before it looks, and leaves pixels of animations as they were in
    memory. Raises ImageError if a chunk lies outside the file or the last one is missing, UnsupportedImage.
    """
    kept = [data[:8]]
    for kind, start, end in islice(_png_chunks(data), MAX_CHUNKS):
        if kind == b"tRNS" or kind[:1].isupper():
            kept.append(data[start:end])
        if kind == b"IEND":
            return b"".join(kept)
    raise UnsupportedImage(f"PNG files of more than {MAX_CHUNKS} chunks are not accepted.")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each."""
    start = 8
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if end > len(data):
            break
        yield data[start + 4 : start + 8], start, end
        start = end
    raise broken("PNG")
