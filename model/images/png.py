"""PNG files: size in the header, and decoding without the chunks that hold no pixels."""

import struct
from collections.abc import Iterator
from itertools import islice

import imagecodecs
from zlib_ng import zlib_ng

from model.images.image_errors import UnsupportedImage, broken
from model.images.opencv import decode_by_opencv
from model.inputs.preprocessing import Pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Far more than any program writes: chunks are of 8 KB or larger.
MAX_CHUNKS = 2**17

# Up to these limits, pixels are inflated in one piece before OpenCV reads them: bytes, compressed or not, and chunks.
# More bytes would take memory, and the checksums of more chunks would take time.
INFLATED_BYTES, INFLATED_CHUNKS = 2**22, 2**10

# By PNG's number of the colour type.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


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
    return decode_by_opencv(b"".join(_inflate(_only_pixels(data))))


def _inflate(parts: list[bytes]) -> list[bytes]:
    """The parts of a file, with the pixels stored and not compressed; OpenCV judges all else.

    libdeflate inflates in half of the time of the zlib in OpenCV. Large, unusual and broken files are left unchanged.
    """
    chunks = [part for part in parts if part[4:8] == b"IDAT"]
    before, size = parts[: -1 - len(chunks)], _inflated_size(parts[1])
    is_small = len(chunks) <= INFLATED_CHUNKS and max(size, sum(map(len, chunks))) <= INFLATED_BYTES
    if not (size and is_small and [*before, *chunks] == parts[:-1] and all(map(_is_whole, chunks))):
        return parts
    try:
        pixels = imagecodecs.deflate_decode(b"".join(chunk[8:-4] for chunk in chunks), out=size)
    except imagecodecs.DeflateError:
        return parts
    stored = make_chunk(b"IDAT", zlib_ng.compress(pixels, level=0))
    return [*before, stored, parts[-1]]


def _inflated_size(header: bytes) -> int:
    """The bytes of all rows and the numbers of their filters; 0 if the picture is interlaced."""
    width, height, depth, colour_type, interlaced = struct.unpack_from(">IIBBxxB", header, 8)
    bits = width * depth * _CHANNELS.get(colour_type, 0)
    return 0 if interlaced else height * (1 + (bits + 7) // 8)


def _is_whole(chunk: bytes) -> bool:
    """True if the checksum of a chunk is right."""
    return zlib_ng.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _only_pixels(data: bytes) -> list[bytes]:
    """The signature and the chunks without those that make no pixel: text, profiles, other frames of an animation.

    OpenCV allocates what a chunk claims, up to 4 GB, before it looks, and leaves pixels of animations as they were in
    memory. Raises ImageError if a chunk lies outside the file or the last one is missing, UnsupportedImage.
    """
    kept = [data[:8]]
    for kind, start, end in islice(_png_chunks(data), MAX_CHUNKS):
        if kind == b"tRNS" or kind[:1].isupper():
            kept.append(data[start:end])
        if kind == b"IEND":
            return kept
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
