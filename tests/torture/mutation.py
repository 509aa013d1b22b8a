"""What can happen to bytes."""

import zlib
from collections.abc import Callable, Sequence
from random import Random

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutate(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """The data after one to four changes; `others`: what pieces may come from."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        random.choice(_CHANGES)(changed, others, random)
    return bytes(changed)


def _place(data: bytearray, random: Random) -> int:
    """Headers lie at the start, those of a TIFF may lie at the end: as often there as anywhere."""
    near = random.randrange(256)
    anywhere = random.randrange(len(data) + 1)
    return min(random.choice((near, anywhere, max(0, len(data) - near))), len(data))


def _span(data: bytearray, random: Random) -> slice:
    start = _place(data, random)
    return slice(start, start + random.choice((1, 4, 16, random.randrange(1, 400))))


def _flip(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    for _ in range(random.choice((1, 1, 3, 10))):
        at = _place(data, random)
        if at < len(data):
            data[at] ^= 1 << random.randrange(8)


def _number(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    """As over a length, a size or an offset."""
    size = random.choice((1, 2, 4))
    value = random.choice((*INTERESTING, len(data), random.getrandbits(32))) % 2 ** (8 * size)
    at = _place(data, random)
    data[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))


def _cut(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    del data[_place(data, random) :]


def _delete(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    del data[_span(data, random)]


def _insert(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    at = _place(data, random)
    data[at:at] = random.choice((random.randbytes(random.randrange(1, 40)), bytes(random.randrange(1, 400))))


def _overwrite(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    span = _span(data, random)
    size = span.stop - span.start
    data[span] = random.choice((bytes(size), b"\xff" * size, random.randbytes(size)))


def _repeat(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    at = _place(data, random)
    data[at:at] = data[_span(data, random)] * random.choice((1, 2, 50))


def _splice(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    other = bytearray(random.choice(others))
    at = _place(data, random)
    data[at : at + random.choice((0, 4, 400, len(data)))] = other[_place(other, random) :]


_CHANGES: Sequence[Callable[[bytearray, Sequence[bytes], Random], None]] = (
    *(_flip, _number, _number, _cut, _delete, _insert, _overwrite, _repeat, _splice),
)


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose chunks are what they say again, as far as they go; so that damage gets past the checksums."""
    whole, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            break
        whole.append(data[at:end] + zlib.crc32(data[at + 4 : end]).to_bytes(4))
        at = end + 4
    return b"".join([*whole, data[at:]])
