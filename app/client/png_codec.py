"""PNG to arrays and back with numpy only, so that the client needs no image library.

Shape letters: H height, W width, C channels.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

START = b"\x89PNG\r\n\x1a\n"
# Colour types of the format, by number of channels.
_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
_CHANNELS = {colour: channels for channels, colour in _COLOURS.items()}


def encode_png(pixels: Pixels) -> bytes:
    """H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA), uint8 or uint16 -> a PNG file, compressed lightly."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    filtered = np.zeros((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 1:] = rows
    colour = _COLOURS[pixels.shape[2] if pixels.ndim == 3 else 1]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.data, 1)), (b"IEND", b""))
    return START + b"".join(_chunk(kind, body) for kind, body in chunks)


def decode_png(data: bytes) -> NDArray[Any]:
    """A PNG file as the service writes it -> H x W or H x W x C, uint8 or uint16.

    Raises ValueError for palettes, interlaced files, and files that end too early.
    """
    chunks = list(_chunks(data))
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", dict(chunks)[b"IHDR"])
    if bits not in (8, 16) or colour not in _CHANNELS or interlaced:
        raise ValueError("a PNG of 8 or 16 bits, without palette and interlacing, is expected")
    channels = _CHANNELS[colour]
    stored = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    rows = np.frombuffer(stored, np.uint8).reshape(height, -1)
    pixel = channels * bits // 8
    plain = _without_filters(rows[:, 0], rows[:, 1:].reshape(height, width, pixel))
    values = plain.reshape(height, -1).view(f">u{bits // 8}").astype(f"=u{bits // 8}")
    return values.reshape(height, width, channels) if channels > 1 else values.reshape(height, width)


def _without_filters(kinds: NDArray[np.uint8], rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Adds to each byte what its filter predicted (PNG specification, section 9). `rows`: H x W x bytes of a pixel."""
    plain = np.empty_like(rows)
    above = np.zeros_like(rows[0])
    for index, (kind, row) in enumerate(zip(kinds.tolist(), rows, strict=True)):
        above = plain[index] = _row(kind, row, above)
    return plain


def _row(kind: int, row: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if kind == 0:
        return row
    if kind == 1:
        return np.cumsum(row, axis=0, dtype=np.uint8)
    if kind == 2:
        return row + above
    predict = {3: _average, 4: _paeth}[kind]
    plain = row.astype(int)
    left = corner = np.zeros(row.shape[1], int)
    for index, up in enumerate(above.astype(int)):
        plain[index] = left = (plain[index] + predict(left, up, corner)) & 255
        corner = up
    return plain.astype(np.uint8)


def _average(left: NDArray[Any], up: NDArray[Any], _corner: NDArray[Any]) -> NDArray[Any]:
    predicted: NDArray[Any] = (left + up) // 2
    return predicted


def _paeth(left: NDArray[Any], up: NDArray[Any], corner: NDArray[Any]) -> NDArray[Any]:
    """Returns whichever neighbour is nearest to left + up - corner."""
    to_left, to_up, to_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    nearest: NDArray[Any] = np.where(to_up <= to_corner, up, corner)
    predicted: NDArray[Any] = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
    return predicted


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk. Raises ValueError if the file has no end."""
    at = len(START)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        if data[at + 4 : at + 8] == b"IEND":
            return
        at += 12 + size
    raise ValueError("the PNG file ends too early")
