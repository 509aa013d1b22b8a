"""JPEG files: size in the header, and decoding that reports missing parts.

Shape letters: H height, W width.
"""

import re
import struct
from collections.abc import Iterator
from itertools import product

import simplejpeg

from model.images.image_errors import UnsupportedImage, broken
from model.images.opencv import decode_by_opencv
from model.inputs.preprocessing import Pixels

# Far more than any program writes: a progressive JPEG has some 10 scans.
MAX_SEGMENTS = 2**16
MAX_SCANS = 100

_INKS = ("CMYK", "YCCK")

_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # none that stands between the bytes of a scan
_SOS, _EOI = 0xDA, 0xD9
_WITHOUT_PIXELS = {*range(0xE0, 0xF0), 0xFE}  # of applications, and comments
_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_SIZES_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# Lossless, hierarchical, or with arithmetic coding.
_OTHER_CODINGS = _SIZES_OF_FRAME - {0xC0, 0xC1, 0xC2}


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels. Raises ImageError; struct.error or IndexError if the file ends too early."""
    for marker, at in _jpeg_segments(data):
        if marker in _SIZES_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
    raise broken("JPEG")


def decode_jpeg(data: bytes) -> Pixels:
    """The picture, H x W or H x W x 3.

    Parts that are missing are an error, while OpenCV and Pillow fill them with grey.

    Raises:
        ImageError: A part of the picture is missing.
        UnsupportedImage: The JPEG is lossless, has other than 8 bits, or a number of colours that no standard names.
        ValueError: libjpeg has a warning.
    """
    _check_frame(data)
    _check_scans(data)
    try:
        return _decode_strictly(data)
    except ValueError:
        # the decoder also complains about markers that say nothing of the pixels
        return _decode_strictly(_only_pixels(data))


def _decode_strictly(data: bytes) -> Pixels:
    """Raises ValueError for each warning of libjpeg."""
    *_, colours, _ = simplejpeg.decode_jpeg_header(data)
    if colours in _INKS:
        simplejpeg.decode_jpeg(data, "CMYK")
        return decode_by_opencv(data)
    pixels: Pixels = simplejpeg.decode_jpeg(data, "GRAY" if colours == "Gray" else "RGB")
    return pixels[:, :, 0] if colours == "Gray" else pixels


def check_jpeg_part(data: bytes, most_pixels: int) -> None:
    """Reads a JPEG that is a strip or tile of a TIFF. Raises as `decode_jpeg` does; ImageError if it is too large."""
    _check_frame(data)
    _check_scans(data)
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    if height * width > most_pixels:
        raise broken("TIFF")
    simplejpeg.decode_jpeg(data, "CMYK" if colours in _INKS else "GRAY", min_factor=8)


def _check_frame(data: bytes) -> None:
    """Raises UnsupportedImage for a kind of JPEG that the decoder does not know."""
    for marker, at in _jpeg_segments(data):
        if marker in _SIZES_OF_FRAME:
            bits, components = data[at + 2], data[at + 7]
            if marker in _OTHER_CODINGS:
                raise UnsupportedImage("JPEG files are accepted baseline or progressive, not lossless or arithmetic.")
            if bits != 8 or components not in (1, 3, 4):
                kind = f"{bits} bits and {components} component(s)"
                raise UnsupportedImage(f"JPEG files of {kind} are not accepted: 8 bits and 1, 3 or 4 components are.")
            return


def _check_scans(data: bytes) -> None:
    """Checks that the scans of a JPEG contain its whole picture, and that there are not too many scans.

    Each scan costs the decoder a pass over all pixels, even if the scan has only a few bytes. Without its last scans, a
    progressive picture is blurred. Raises ImageError, UnsupportedImage.
    """
    # never too few: inside a scan no such bytes are, only other segments and what follows the picture hold more of them
    few = data.count(b"\xff\xda") <= MAX_SCANS
    scans, missing = 0, {(0, 0)}
    for marker, at in _jpeg_segments(data):
        if marker in _SIZES_OF_FRAME:
            components = data[at + 8 : at + 8 + 3 * data[at + 7] : 3]
            missing = set(product(components, range(64)))
        elif marker == _SOS:
            scans += 1
            missing -= _finished(data, at)
            if not missing and few:
                return
            if scans > MAX_SCANS:
                raise UnsupportedImage(f"JPEG files of more than {MAX_SCANS} scans are not accepted.")
    if missing:
        raise broken("JPEG")


def _only_pixels(data: bytes) -> bytes:
    """Returns the file without what makes no pixel: profiles, comments, bytes between segments and zeros at the end.

    The segments of JFIF and Adobe say which colours are stored, so those that libjpeg does not understand are replaced.
    """
    parts, segments = [b"\xff\xd8"], list(_jpeg_segments(data))
    channels = next((data[at + 7] for marker, at in segments if marker in _SIZES_OF_FRAME), 0)
    for marker, at in segments:
        end = at + int.from_bytes(data[at : at + 2])
        content = data[at + 2 : end]
        if content.startswith(b"JFIF\0"):
            parts.append(_JFIF)
        elif content.startswith(b"Adobe") and len(content) >= 12:
            known, usual = {3: ((0, 1), 1), 4: ((0, 2), 2)}.get(channels, ((0,), 0))
            transform = content[11] if content[11] in known else usual
            parts.append(b"\xff\xee\x00\x0e" + content[:11] + bytes([transform]))
        elif marker not in _WITHOUT_PIXELS:
            parts.append(data[at - 2 : end])
        if marker == _SOS:
            following = _MARKER.search(data, end)
            if following is None:
                raise broken("JPEG")
            parts.append(_without_padding(data[end : following.start()]))
    return b"".join([*parts, b"\xff\xd9"])


def _without_padding(scan: bytes) -> bytes:
    """Returns the data of a scan without zeros at the end, except for one that is part of an escaped 255."""
    stripped = scan.rstrip(b"\0")
    return scan[: len(stripped) + 1] if stripped.endswith(b"\xff") else stripped


def _finished(data: bytes, at: int) -> set[tuple[int, int]]:
    """The coefficients whose last bits a scan brings, as (component, index)."""
    end = at + 3 + 2 * data[at + 2]
    components = data[at + 3 : end : 2]
    first, last, bits = data[end : end + 3]
    return set(product(components, range(first, min(last, 63) + 1))) if bits & 15 == 0 else set()


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker of each segment and where its length stands, up to the end of the picture."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if not found or data[found.end() - 1] == _EOI:
            return
        yield data[found.end() - 1], found.end()
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    raise UnsupportedImage(f"JPEG files of more than {MAX_SEGMENTS} segments are not accepted.")
