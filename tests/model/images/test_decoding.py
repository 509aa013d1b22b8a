import os
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from model.images.decoding import SUFFIXES, decode_image, decode_pages
from model.images.encoding import encode_png, to_probability_image
from model.images.headers import MAX_CHUNKS, MAX_SCANS, MAX_SEGMENTS, Header, read_header
from model.images.image_errors import ImageError, UnsupportedImage
from model.images.tiff_pages import MAX_PAGES, MAX_STRIPS, MAX_TAGS

H, W = 37, 53
_rows, _columns = np.mgrid[:H, :W]
GREY = ((5 * _rows + 3 * _columns) % 256).astype(np.uint8)
RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
RGBA = np.concatenate([RGB, ((7 * _rows + _columns) % 256).astype(np.uint8)[:, :, None]], axis=-1)
OPAQUE = np.concatenate([RGB, np.full((H, W, 1), 255, np.uint8)], axis=-1)
GREY16 = (_rows * 1201 + _columns * 607).astype(np.uint16)
RGB16 = np.stack([GREY16, 65535 - GREY16, GREY16 // 3], axis=-1)
BITS = ((_rows // 4 + _columns // 3) % 2 * 255).astype(np.uint8)
SMOOTH = np.stack([_rows * 5, _columns * 4, 255 - _rows * 5], axis=-1).astype(np.uint8)
"""Without edges, so that lossy formats keep it."""


def pillow(pixels: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(pixels)
    buffer = BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def opencv(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels[:, :, ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


def palette(kind: str, **options: object) -> tuple[bytes, np.ndarray]:
    image = Image.fromarray(RGB).quantize(64)
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue(), np.asarray(image.convert("RGB"))


GREY_ALPHA = np.stack([GREY, GREY, GREY, RGBA[:, :, 3]], axis=-1)

EXACT: dict[str, tuple[bytes, np.ndarray]] = {
    "png grey": (pillow(GREY, "PNG"), GREY),
    "png rgb": (pillow(RGB, "PNG"), RGB),
    "png rgba": (pillow(RGBA, "PNG"), RGBA),
    "png palette": palette("PNG"),
    "png 1 bit": (pillow(BITS, "PNG", "1"), BITS),
    "png grey and alpha": (pillow(np.stack([GREY, RGBA[:, :, 3]], axis=-1), "PNG"), GREY_ALPHA),
    "png grey 16": (opencv(".png", GREY16), GREY16),
    "png rgb 16": (opencv(".png", RGB16), RGB16),
    "png animated, first": (pillow(RGB, "PNG", save_all=True, append_images=[Image.fromarray(255 - RGB)]), RGB),
    "tiff grey": (tiff(GREY), GREY),
    "tiff grey 16": (tiff(GREY16), GREY16),
    "tiff grey 16 big-endian": (tiff(GREY16, byteorder=">"), GREY16),
    "tiff grey 16 tiled": (tiff(GREY16, tile=(16, 16)), GREY16),
    "tiff rgb": (tiff(RGB, photometric="rgb"), RGB),
    "tiff rgb 16": (tiff(RGB16, photometric="rgb"), RGB16),
    "tiff rgb lzw": (pillow(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "tiff grey deflate": (pillow(GREY, "TIFF", compression="tiff_adobe_deflate"), GREY),
    "tiff rgba, opaque": (tiff(OPAQUE, photometric="rgb", extrasamples=["unassalpha"]), OPAQUE),
    "tiff palette": palette("TIFF"),
    "tiff 1 bit": (pillow(BITS, "TIFF", "1"), BITS),
    "tiff packbits": (tiff(GREY, compression="packbits"), GREY),
    "tiff pages, first": (tiff(np.stack([GREY, 255 - GREY])), GREY),
    "tiff white is zero": (tiff(255 - GREY, photometric="miniswhite"), GREY),
    "bmp grey": (pillow(GREY, "BMP"), GREY),
    "bmp rgb": (pillow(RGB, "BMP"), RGB),
    "bmp palette": palette("BMP"),
    "bmp 1 bit": (pillow(BITS, "BMP", "1"), BITS),
    "webp rgb": (pillow(RGB, "WEBP", lossless=True), RGB),
    "webp rgba": (pillow(RGBA, "WEBP", lossless=True, exact=True), RGBA),
    "webp animated, first": (
        pillow(RGB, "WEBP", lossless=True, save_all=True, append_images=[Image.fromarray(255 - RGB)]),
        RGB,
    ),
}
LOSSY: dict[str, tuple[bytes, np.ndarray]] = {
    "jpeg grey": (pillow(SMOOTH[:, :, 0], "JPEG", quality=95), SMOOTH[:, :, 0]),
    "jpeg baseline": (pillow(SMOOTH, "JPEG", quality=95), SMOOTH),
    "jpeg progressive": (pillow(SMOOTH, "JPEG", quality=95, progressive=True), SMOOTH),
    "jpeg cmyk": (pillow(SMOOTH, "JPEG", "CMYK", quality=95), SMOOTH),
    "webp lossy": (pillow(SMOOTH, "WEBP", quality=95), SMOOTH),
    "tiff jpeg": (pillow(SMOOTH, "TIFF", compression="jpeg", quality=95), SMOOTH),
}
FILES = {name: data for name, (data, _) in (EXACT | LOSSY).items()}
# Their last byte belongs to no pixel of the first picture
LAST_BYTE_SPARE = {"tiff pages, first", "tiff grey deflate", "tiff packbits"}


@pytest.mark.parametrize("name", EXACT)
def test_lossless_files_give_their_pixels(name):
    data, expected = EXACT[name]
    pixels = decode_image(data)
    assert (pixels.shape, pixels.dtype) == (expected.shape, expected.dtype)
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_give_nearly_their_pixels(name):
    data, expected = LOSSY[name]
    pixels = decode_image(data)
    assert pixels.shape == expected.shape
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("name", FILES)
def test_the_header_says_format_and_size(name):
    header = replace(read_header(FILES[name]), bits=8)
    pages = 2 if name == "tiff pages, first" else 1
    lossy = "lossy WebP" if name == "webp lossy" else "JPEG" if "jpeg" in name else ""
    assert header == Header(name.split()[0].upper(), W, H, pages, W * H * pages, lossy=lossy)


@pytest.mark.parametrize("name", FILES)
def test_pixels_may_be_written_to_and_lie_in_one_piece(name):
    pixels = decode_image(FILES[name])
    assert pixels.flags.c_contiguous
    pixels[...] = 0


@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("name", [name for name in FILES if name != "tiff pages, first"])
def test_a_truncated_file_is_an_error_whichever_part_is_missing(name, part):
    with pytest.raises(ImageError, match=r"broken or truncated|not an image"):
        decode_image(FILES[name][: int(len(FILES[name]) * part)])


@pytest.mark.parametrize("name", [name for name in FILES if name not in LAST_BYTE_SPARE])
def test_even_one_missing_byte_is_an_error(name):
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(FILES[name][:-1])


@pytest.mark.parametrize("name", FILES)
def test_bytes_after_the_picture_do_not_matter(name):
    assert np.array_equal(decode_image(FILES[name] + b"\0" * 100), decode_image(FILES[name]))


@pytest.mark.parametrize("function", [read_header, decode_image, decode_pages])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_gives_an_image_or_an_image_error(function, name):
    random = np.random.default_rng(len(name))
    for _ in range(15):
        damaged = bytearray(FILES[name])
        # headers lie at the start; a TIFF's may lie at the end
        places = random.integers(8, min(len(damaged), 200), 3).tolist()
        places += random.integers(max(8, len(damaged) - 300), len(damaged), 3).tolist()
        for place in places:
            damaged[place] = random.choice((0, 1, 255, int(random.integers(256))))
        with suppress(ImageError):
            if read_header(bytes(damaged)).pixels < 10_000_000:
                function(bytes(damaged))


@pytest.mark.parametrize("function", [read_header, decode_image, decode_pages])
@pytest.mark.parametrize(
    "data", [b"hello, this is text", bytes(1000), b"\x89PNG", b"RIFF\0\0\0\0WAVE", b"<svg xmlns='x'/>", b"\xff"]
)
def test_bytes_that_are_not_an_image_are_refused(function, data):
    with pytest.raises(ImageError, match="is not an image: PNG, JPEG, TIFF, BMP and WebP"):
        function(data)


@pytest.mark.parametrize("function", [read_header, decode_image, decode_pages])
def test_no_bytes_at_all_are_said_to_be_none(function):
    with pytest.raises(ImageError, match=r"^The file is empty\.$"):
        function(b"")


@pytest.mark.parametrize(
    "magic", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"RIFF\xff\xff\0\0WEBP"]
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
    "BigTIFF": tiff(GREY, bigtiff=True),
    "PDF": pillow(RGB, "PDF"),
    "Radiance HDR": cv2.imencode(".hdr", RGB.astype(np.float32))[1].tobytes(),
    "Photoshop": b"8BPS\0\1" + bytes(100),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(100),
}


@pytest.mark.parametrize("function", [read_header, decode_image, decode_pages])
@pytest.mark.parametrize("kind", REFUSED)
def test_other_image_formats_are_refused_by_name(function, kind):
    with pytest.raises(UnsupportedImage, match=rf"^{kind} is not accepted: PNG, JPEG, TIFF, BMP and WebP are\.$"):
        function(REFUSED[kind])


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int8, np.uint32])
def test_unsupported_pixel_types_are_refused_by_name(dtype):
    with pytest.raises(UnsupportedImage, match=f"{np.dtype(dtype)} are not accepted: 8 or 16 bits unsigned are"):
        decode_image(tiff(GREY.astype(dtype)))


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_huge_png_is_judged_by_its_header_without_decoding():
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(100)))
    assert read_header(data) == Header("PNG", 100_000, 100_000, 1, 10_000_000_000)
    with pytest.raises(ImageError, match="broken"):
        decode_image(data)


MEMORY_OF = """
import resource, sys
from model.images.image_errors import ImageError
from model.images.decoding import decode_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_image(sys.stdin.buffer.read())
except ImageError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_png_chunk_that_claims_4_gb_is_refused_without_memory():
    whole = FILES["png grey"]
    at = whole.index(b"IDAT")
    data = whole[: at - 4] + b"\xff\0\0\x76" + whole[at:]
    process = subprocess.run([sys.executable, "-c", MEMORY_OF], input=data, capture_output=True, check=True)
    assert int(process.stdout) < 50_000  # KiB


def test_a_tiff_whose_tiles_are_huge_counts_their_pixels():
    data = tiff(GREY16, tile=(16, 16))
    entry = struct.pack("<HHII", 322, 4, 1, 16)
    assert data.count(entry) == 1
    assert read_header(data.replace(entry, struct.pack("<HHII", 322, 4, 1, 65520))).pixels == 65520 * 16


@pytest.mark.parametrize(("rows", "counted"), [(2**32 - 1, 1), (1, 1), (8_000_000, 8_000_000)])
def test_a_tiff_whose_strips_are_huge_counts_their_pixels(rows, counted):
    data = small_tiff(rows=(4, rows))
    assert read_header(data).pixels == counted
    assert decode_image(data).shape == (1, 1)


def test_the_header_of_a_truncated_file_can_be_read():
    assert read_header(FILES["png rgb"][:60]).width == W


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_rotation_in_the_exif_data_is_not_applied(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = pillow(SMOOTH, kind, exif=exif)
    assert decode_image(data).shape[:2] == (read_header(data).height, read_header(data).width) == (H, W)


def test_header_and_pixels_of_a_rotated_tiff_agree():
    data = pillow(RGB, "TIFF", tiffinfo={0x0112: 6})
    header = read_header(data)
    assert decode_image(data).shape[:2] == (header.height, header.width)


@pytest.mark.parametrize("stack", [np.stack([GREY, 255 - GREY, GREY // 2]), np.stack([GREY16, GREY16 // 2])])
def test_every_page_of_a_tiff_is_given(stack):
    pages = decode_pages(tiff(stack, photometric="minisblack"))
    assert len(pages) == len(stack)
    assert np.array_equal(np.stack(pages), stack)


@pytest.mark.parametrize("name", [name for name in FILES if name != "tiff pages, first"])
def test_a_file_of_one_picture_has_one_page(name):
    [page] = decode_pages(FILES[name])
    assert np.array_equal(page, decode_image(FILES[name]))


def pages_of_sizes(*sizes: tuple[int, int]) -> bytes:
    first, *others = (Image.new("L", size, index) for index, size in enumerate(sizes))
    buffer = BytesIO()
    first.save(buffer, "TIFF", save_all=True, append_images=others, compression="tiff_adobe_deflate")
    return buffer.getvalue()


def test_pixels_count_all_pages_of_whatever_size():
    data = pages_of_sizes((1, 1), (3000, 2000), (20, 30))
    assert read_header(data) == Header("TIFF", 1, 1, 3, 1 + 6_000_000 + 600)
    assert [page.shape for page in decode_pages(data)] == [(1, 1), (2000, 3000), (30, 20)]


@pytest.mark.parametrize("missing", [400, 1500])
def test_a_stack_whose_last_page_is_truncated_is_an_error(missing):
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_pages(tiff(np.stack([GREY] * 3), photometric="minisblack")[:-missing])


def endless_tiff(pages: int) -> bytes:
    """One pixel, claimed by so many pages."""
    entries = [(256, 4, 1), (257, 4, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, 1), (279, 4, 1)]
    fields = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries
    )
    step = len(fields) + 4
    starts = [16 + step * (page + 1) for page in range(pages - 1)]
    return (
        b"II*\0"
        + struct.pack("<I", 16)
        + bytes(8)
        + b"".join(fields + struct.pack("<I", start) for start in [*starts, 0])
    )


def test_a_tiff_of_too_many_pages_is_refused():
    assert read_header(endless_tiff(50)).pages == 50
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_PAGES} pages"):
        read_header(endless_tiff(MAX_PAGES + 1))


def test_a_tiff_whose_pages_go_round_in_a_circle_ends():
    data = endless_tiff(3)
    assert read_header(data[:-4] + struct.pack("<I", 16)).pages == 3


@pytest.mark.parametrize("pixels", [GREY, GREY16, RGB, RGB16, RGBA, GREY[:1, :1], GREY[::2, ::-3], RGB[::2, ::-1]])
def test_png_round_trips(pixels):
    decoded = decode_image(encode_png(pixels))
    assert decoded.dtype == pixels.dtype
    assert np.array_equal(decoded, pixels)


@pytest.mark.parametrize(("pixels", "mode"), [(GREY, "L"), (GREY16, "I;16"), (RGB, "RGB"), (RGBA, "RGBA")])
def test_other_programs_read_the_png(pixels, mode):
    image = Image.open(BytesIO(encode_png(pixels)))
    assert (image.format, image.mode, image.size) == ("PNG", mode, (W, H))
    assert np.array_equal(np.asarray(image), pixels)


def test_masks_are_compressed():
    assert len(encode_png(BITS)) < BITS.nbytes / 5


@pytest.mark.parametrize(
    ("probability", "pixel"), [(0.0, 0), (1.0, 65535), (0.4 / 65535, 0), (0.6 / 65535, 1), (1 - 1e-7, 65535)]
)
def test_a_probability_is_rounded_to_16_bits(probability, pixel):
    image = to_probability_image(np.array([[probability]], np.float32))
    assert image.dtype == np.uint16
    assert image.item() == pixel


def test_every_16_bit_value_is_a_probability_and_comes_back():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(to_probability_image((every / 65535).astype(np.float32)), every)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_suffix_names_an_accepted_format(suffix):
    assert decode_image(opencv(suffix, RGB)).shape == RGB.shape


# What decoders get wrong without a word


@pytest.mark.parametrize("pixels", [RGB, RGB16])
def test_a_tiff_of_separate_planes_is_refused_for_opencv_scrambles_it(pixels):
    planes = tiff(np.ascontiguousarray(pixels.transpose(2, 0, 1)), photometric="rgb", planarconfig="separate")
    with pytest.raises(UnsupportedImage, match="planes apart"):
        decode_image(planes)


def test_alpha_of_a_tiff_does_not_change_its_colours():
    data = pillow(RGBA, "TIFF", save_all=True, append_images=[Image.fromarray(255 - RGBA)])
    first, second = decode_pages(data)
    assert np.array_equal(first, RGBA)
    assert np.array_equal(second, 255 - RGBA)


def test_a_16_bit_white_is_zero_tiff_is_refused():
    with pytest.raises(UnsupportedImage, match="white is 0"):
        decode_image(tiff(65535 - GREY16, photometric="miniswhite"))


def test_a_ccitt_tiff_is_refused():
    with pytest.raises(UnsupportedImage, match="LZW, deflate, PackBits or JPEG"):
        decode_image(pillow(BITS, "TIFF", "1", compression="group4"))


@pytest.mark.parametrize("compression", [1, 2, 4, 5])
def test_a_compressed_bmp_is_refused(compression):
    data = FILES["bmp grey"]
    with pytest.raises(UnsupportedImage, match="accepted uncompressed"):
        read_header(data[:30] + struct.pack("<I", compression) + data[34:])


LARGE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8), (5, 5), 2)
INKS = {"mode": "CMYK"}


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, INKS, {"restart_marker_blocks": 9}])
@pytest.mark.parametrize("part", [0.4, 0.7, 0.95])
def test_a_jpeg_that_ends_too_early_with_an_end_marker_is_an_error(options, part):
    whole = pillow(LARGE, "JPEG", quality=90, **options)
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(whole[: int(len(whole) * part)] + b"\xff\xd9")


def test_a_progressive_jpeg_without_its_last_scan_is_an_error():
    whole = pillow(LARGE, "JPEG", progressive=True)
    for scan in (whole.index(b"\xff\xda", whole.index(b"\xff\xda") + 1), whole.rindex(b"\xff\xda")):
        with pytest.raises(ImageError, match="broken or truncated"):
            decode_image(whole[:scan] + b"\xff\xd9")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_a_piece_in_the_middle_is_an_error(progressive):
    whole = pillow(LARGE, "JPEG", quality=90, progressive=progressive)
    middle = len(whole) // 2
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(whole[:middle] + whole[middle + 2000 :])


def strips_of(compression: str) -> tuple[bytes, int, int, int]:
    """A TIFF; where one of its strips lies, how long it is, and where that is said."""
    data = tiff(LARGE, photometric="rgb", compression=compression, rowsperstrip=16)
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        size = page.tags[279]
        assert size.dtype == 4
        return data, page.dataoffsets[5], page.databytecounts[5], size.valueoffset + 5 * 4


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "jpeg"])
def test_a_tiff_one_of_whose_strips_is_too_short_is_an_error(compression):
    data, _, size, place = strips_of(compression)
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(data[:place] + struct.pack("<I", size // 2) + data[place + 4 :])


@pytest.mark.parametrize("compression", ["lzw", "zlib", "jpeg"])
def test_a_tiff_one_of_whose_strips_is_damaged_is_an_error(compression):
    data, start, size, _ = strips_of(compression)
    middle = start + size // 2
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(data[:middle] + bytes(range(200, 255)) * 2 + data[middle + 110 :])


HASHES_OF_DAMAGED_FILES = """
import hashlib, sys
import numpy as np
from model.images.headers import read_header
from model.images.image_errors import ImageError
from model.images.decoding import decode_pages
from tests.model.images.test_decoding import FILES
for name, data in FILES.items():
    random = np.random.default_rng(7)
    for _ in range(40):
        start = int(random.integers(8, len(data)))
        damaged = data[:start] + bytes(60) + data[start + int(random.choice((0, 60, 100))) :]
        try:
            if read_header(damaged).pixels < 1_000_000:
                print(name, *(hashlib.md5(page.tobytes()).hexdigest() for page in decode_pages(damaged)))
        except ImageError:
            pass
"""


def test_no_pixel_is_what_was_in_memory_before():
    def run(filling: int) -> str:
        # what malloc of glibc fills memory with; no other system's takes notice
        environment = os.environ | {"MALLOC_PERTURB_": str(filling)}
        command = [sys.executable, "-c", HASHES_OF_DAMAGED_FILES]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert run(85) == run(170) != ""


# What makes reading a file cost more than its size


def test_a_jpeg_of_too_many_scans_is_refused():
    whole = pillow(LARGE, "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    scan = whole[last:-2]
    assert decode_image(whole).shape == LARGE.shape
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_SCANS} scans"):
        decode_image(whole[:last] + scan * MAX_SCANS + whole[-2:])


def test_scan_markers_inside_comments_are_not_counted():
    whole = pillow(LARGE, "JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 2 * MAX_SCANS) + b"\xff\xda" * MAX_SCANS
    pixels = decode_image(whole[:2] + comment + whole[2:] + b"\xff\xda\0\2" * 2 * MAX_SCANS)
    assert np.array_equal(pixels, decode_image(whole))


def test_a_jpeg_of_too_many_segments_is_refused():
    whole = pillow(RGB, "JPEG")
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_SEGMENTS} segments"):
        read_header(whole[:2] + b"\xff\xe5\0\2" * (MAX_SEGMENTS + 1) + whole[2:])


def test_a_png_of_too_many_chunks_is_refused():
    whole = FILES["png grey"]
    data = whole[:33] + png_chunk(b"vpAg", b"") * (MAX_CHUNKS + 1) + whole[33:]
    assert read_header(data).width == W
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_CHUNKS} chunks"):
        decode_image(data)


def small_tiff(*more: tuple[int, int, int, int], **changed: tuple[int, int]) -> bytes:
    """One grey pixel; tags as (number, type, count, value), those by name as (type, value)."""
    tags = {"width": (256, 4), "height": (257, 4), "bits": (258, 3), "compression": (259, 3), "photometric": (262, 3)}
    tags |= {"strips": (273, 4), "samples": (277, 3), "rows": (278, 4), "sizes": (279, 4)}
    values = {"bits": 8, "strips": 8}
    given = {number: changed.get(name, (kind, values.get(name, 1))) for name, (number, kind) in tags.items()}
    entries = [(number, kind, 1, value) for number, (kind, value) in given.items()]
    fields = b"".join(struct.pack("<HHII", *entry) for entry in sorted([*entries, *more]))
    return b"II*\0" + struct.pack("<IQH", 16, 77, len(entries) + len(more)) + fields + bytes(4)


def test_the_small_tiff_of_these_tests_is_one():
    assert decode_image(small_tiff()).tolist() == [[77]]


def test_a_tiff_whose_tags_share_their_bytes_is_an_error():
    more = [(40000 + index, 1, 100_000, 8) for index in range(300)]
    with pytest.raises(ImageError, match="broken or truncated"):
        read_header(small_tiff(*more) + bytes(100_000))


def test_a_tiff_that_says_its_size_twice_is_an_error():
    with pytest.raises(ImageError, match="broken or truncated"):
        read_header(small_tiff((256, 4, 1, 60_000)))


def test_a_tiff_of_too_many_tags_is_refused():
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_TAGS} tags a page"):
        read_header(small_tiff(*((40000 + index, 3, 1, 0) for index in range(MAX_TAGS))))


def test_a_tiff_of_too_many_strips_is_refused():
    many = small_tiff((324, 3, MAX_STRIPS + 1, 8)) + bytes(2 * MAX_STRIPS)
    with pytest.raises(UnsupportedImage, match=f"more than {MAX_STRIPS} strips or tiles"):
        read_header(many)


@pytest.mark.parametrize(
    ("samples", "bits", "photometric"),
    [(5, 8, 2), (200, 8, 1), (4, 8, 1), (2, 16, 1), (4, 16, 1), (1, 16, 2), (2, 16, 2), (5, 16, 2), (1, 16, 3)],
)
def test_a_tiff_with_a_wrong_sample_count_is_refused(samples, bits, photometric):
    """Of 16 bits OpenCV would scramble them, or show what was in memory before."""
    with pytest.raises(UnsupportedImage, match="of as many samples a pixel"):
        read_header(small_tiff(samples=(3, samples), bits=(3, bits), photometric=(3, photometric)))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("pixels", [RGB, RGB16], ids=["8 bits", "16 bits"])
def test_a_tiff_of_colours_whose_tag_says_grey_is_read_in_colours(pixels, compression, byteorder):
    pages = [pixels, 255 - pixels]
    tags: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig", "compression": compression}
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=byteorder) as writer:
        for page in pages:
            writer.write(page, **tags)
    decoded = decode_pages(buffer.getvalue())
    assert all(np.array_equal(*pair) for pair in zip(decoded, pages, strict=True))


def test_a_tiff_of_8_and_16_bits_is_refused():
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GREY)
        writer.write(GREY16)
    with pytest.raises(UnsupportedImage, match="8 and of 16 bits together"):
        read_header(buffer.getvalue())


def test_a_tiff_of_grey_and_alpha_becomes_colours_with_alpha():
    data = pillow(np.stack([GREY, RGBA[:, :, 3]], axis=-1), "TIFF")
    assert np.array_equal(decode_image(data), GREY_ALPHA)


@pytest.mark.parametrize("width", [0, 2**31])
def test_a_png_of_no_possible_width_is_not_decoded(width):
    data = FILES["png grey"]
    data = data[:16] + struct.pack(">I", width) + data[20:]
    with pytest.raises(ImageError, match="broken or truncated"):
        decode_image(data)
