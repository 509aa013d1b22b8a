import struct
import zlib

import cv2
import numpy as np
import pytest

from model.images.decoding import decode_image, decode_pages
from model.images.headers import Header, read_header
from model.images.image_errors import ImageError, UnsupportedImage
from tests.support.image_files import FILES, GREY, RGB, H, W, pages_of_sizes, pillow, png_chunk


@pytest.mark.parametrize("name", FILES)
def test_the_header_says_format_and_size(name):
    header = read_header(FILES[name])
    pages = {"tiff pages, first": 2, "tiff metamorph": 3}.get(name, 1)
    lossy = "lossy WebP" if name == "webp lossy" else "JPEG" if "jpeg" in name and "2000" not in name else ""
    pixels = W * H * pages * (2 if name == "tiff float32 rgb" else 1)  # of more than 8 bytes
    assert header == Header(name.split()[0].upper(), W, H, pages, pixels, lossy=lossy)


@pytest.mark.parametrize("function", [read_header, decode_image, decode_pages])
@pytest.mark.parametrize("data", [b"hello, this is text", bytes(1000), b"\x89PNG", b"RIFF\0\0\0\0WAVE", b"\xff"])
def test_bytes_that_are_not_an_image_are_refused(function, data):
    with pytest.raises(ImageError, match="is not an image: PNG, JPEG, TIFF, BMP and WebP"):
        function(data)


@pytest.mark.parametrize("function", [read_header, decode_image, decode_pages])
def test_no_bytes_at_all_are_said_to_be_none(function):
    with pytest.raises(ImageError, match=r"^The file is empty\.$"):
        function(b"")


@pytest.mark.parametrize(
    "magic",
    [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM", b"RIFF\xff\xff\0\0WEBP"],
)
@pytest.mark.parametrize("rest", [b"", bytes(500), b"\xff" * 500])
def test_the_right_first_bytes_do_not_make_an_image(magic, rest):
    for function in (read_header, decode_image, decode_pages):
        with pytest.raises(ImageError, match="broken or truncated"):
            function(magic + rest)


REFUSED = {
    "GIF": pillow(GREY, "GIF"),
    "JPEG 2000": pillow(RGB, "JPEG2000"),
    "PNM": pillow(GREY, "PPM"),
    "PDF": pillow(RGB, "PDF"),
    "Radiance HDR": cv2.imencode(".hdr", RGB.astype(np.float32))[1].tobytes(),
    "Photoshop": b"8BPS\0\1" + bytes(100),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(100),
}


@pytest.mark.parametrize("function", [read_header, decode_image, decode_pages])
@pytest.mark.parametrize("kind", REFUSED)
def test_other_image_formats_are_refused_by_name(function, kind):
    with pytest.raises(UnsupportedImage, match=rf"^{kind} is not accepted: PNG, JPEG, TIFF, BMP and WebP are\. "):
        function(REFUSED[kind])


def test_a_huge_png_is_judged_by_its_header_without_decoding():
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(100)))
    assert read_header(data) == Header("PNG", 100_000, 100_000, 1, 10_000_000_000)
    with pytest.raises(ImageError, match="broken"):
        decode_image(data)


def test_the_header_of_a_truncated_file_can_be_read():
    assert read_header(FILES["png rgb"][:60]).width == W


def test_header_and_pixels_of_a_rotated_tiff_agree():
    data = pillow(RGB, "TIFF", tiffinfo={0x0112: 6})
    header = read_header(data)
    assert decode_image(data).shape[:2] == (header.height, header.width)


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("tiff pages, first", "tiff metamorph")])
def test_a_file_of_one_picture_has_one_page(name):
    [page] = decode_pages(FILES[name])
    assert np.array_equal(page, decode_image(FILES[name]))


def test_pixels_count_all_pages_of_whatever_size():
    data = pages_of_sizes((1, 1), (3000, 2000), (20, 30))
    assert read_header(data) == Header("TIFF", 1, 1, 3, 1 + 6_000_000 + 600)
    assert [page.shape for page in decode_pages(data)] == [(1, 1), (2000, 3000), (30, 20)]
