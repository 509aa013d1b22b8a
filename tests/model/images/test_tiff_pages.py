import json
import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile

from model.images.decoding import ImageFile, decode_image, decode_pages
from model.images.headers import read_header
from model.images.image_errors import ImageError, UnsupportedImage
from tests.support.image_files import BITS, GREY, GREY16, RGB, metamorph, pillow, small_tiff, tiff


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


def test_a_ccitt_tiff_is_refused():
    with pytest.raises(UnsupportedImage, match="with compression 4 are not accepted"):
        decode_image(pillow(BITS, "TIFF", "1", compression="group4"))


@pytest.mark.parametrize(("samples", "photometric"), [(1, 2), (2, 2), (257, 1), (3, 5)])
def test_a_tiff_with_a_wrong_sample_count_is_refused(samples, photometric):
    with pytest.raises(UnsupportedImage, match=f"of {samples} samples a pixel are not accepted"):
        read_header(small_tiff(samples=(3, samples), bits=(3, 8), photometric=(3, photometric)))


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
def test_complex_pixels_are_refused_by_name(kind):
    with pytest.raises(UnsupportedImage, match="Pixels of type complex"):
        read_header(tiff(GREY.astype(kind)))


@pytest.mark.parametrize(("photometric", "name"), [(8, "CIELAB"), (32845, "LogLuv"), (40000, "interpretation 40000")])
def test_other_colours_are_refused_by_name(photometric, name):
    tags = {"photometric": (3, photometric), "samples": (3, 3), "bits": (3, 8)}
    with pytest.raises(UnsupportedImage, match=f"TIFF files of .*{name} are not accepted"):
        read_header(small_tiff(**tags))


def test_raw_pictures_of_cameras_are_refused_with_their_maker():
    data = tiff(GREY16, photometric="cfa", extratags=[(271, 2, 0, "NIKON CORPORATION", True)])
    with pytest.raises(UnsupportedImage, match=r"camera's raw picture \(NIKON CORPORATION\).*Develop it"):
        read_header(data)


@pytest.mark.parametrize("subfiletype", [0, 1])
def test_dng_is_refused_by_name_whatever_its_first_page_is(subfiletype):
    data = tiff(GREY, subfiletype=subfiletype, extratags=[(50706, 1, 4, (1, 4, 0, 0), True)])
    with pytest.raises(UnsupportedImage, match=r"^DNG is not accepted"):
        read_header(data)


def test_cr2_is_refused_by_name():
    with pytest.raises(UnsupportedImage, match=r"^Canon CR2 is not accepted"):
        read_header(small_tiff()[:8] + b"CR\2\0" + small_tiff()[12:])


def written(*pages: tuple[np.ndarray, dict[str, Any]]) -> bytes:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for pixels, options in pages:
            writer.write(pixels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (GREY[::2, ::2], {"subfiletype": 1}),
        (GREY[::2, ::2], {"extratags": [(255, 3, 1, 2, True)]}),
        (BITS > 0, {"subfiletype": 4}),
        (BITS[::2, ::2] > 0, {"subfiletype": 5}),
    ],
)
def test_smaller_copies_and_masks_are_no_pages(pixels, options):
    data = written((GREY, {}), (pixels, options), (255 - GREY, {}))
    first, second = decode_pages(data)
    assert np.array_equal(first, GREY)
    assert np.array_equal(second, 255 - GREY)


def test_a_picture_below_its_thumbnail_is_the_page():
    data = written((GREY[::4, ::4], {"subfiletype": 1, "subifds": 1}), (GREY16, {"subfiletype": 0}))
    [page] = decode_pages(data)
    assert np.array_equal(page, GREY16)


def test_a_file_of_only_a_smaller_copy_is_read():
    assert np.array_equal(decode_image(tiff(GREY, subfiletype=1)), GREY)


def test_of_an_aperio_slide_only_the_slide_is_read():
    slide = (RGB, {"photometric": "rgb", "description": "Aperio Image Library v12", "metadata": None})
    data = written(slide, (RGB[::2, ::2], {"photometric": "rgb"}), (RGB[::3], {"photometric": "rgb"}))
    [page] = decode_pages(data)
    assert np.array_equal(page, RGB)


# Stacks with one directory


PLANES = np.stack([GREY16, GREY16 // 2, GREY16 // 3])


@pytest.mark.parametrize("stack", [PLANES, (PLANES // 256).astype(np.uint8)])
def test_every_plane_of_a_metamorph_stack_is_a_page(stack):
    assert np.array_equal(np.stack(decode_pages(metamorph(stack))), stack)


def test_a_metamorph_stack_that_is_cut_is_an_error():
    with pytest.raises(ImageError, match="broken or truncated"):
        read_header(metamorph(PLANES)[:-1])


def imagej_without_directories(stack: np.ndarray) -> bytes:
    """As ImageJ writes stacks of more than 4 GB: the directory is in front of all planes."""
    data = bytearray(tiff(stack[0], description=f"ImageJ=1.54f\nimages={len(stack)}\nslices=3\n", metadata=None))
    return bytes(data) + stack[1:].tobytes()


def test_every_plane_of_an_imagej_stack_without_directories_is_a_page():
    data = imagej_without_directories(PLANES)
    with tifffile.TiffFile(BytesIO(data)) as file:
        assert file.pages.first.dataoffsets[0] + PLANES[0].nbytes == len(data) - PLANES[1:].nbytes
    assert np.array_equal(np.stack(decode_pages(data)), PLANES)


def test_a_single_page_with_the_description_of_a_stack_is_one_page():
    description = "ImageJ=1.54f\nimages=3\nslices=3\n"
    for options in ({"compression": "lzw"}, {}):
        [page] = decode_pages(tiff(GREY16, description=description, metadata=None, **options))
        assert np.array_equal(page, GREY16)


def test_every_plane_of_a_truncated_series_of_tifffile_is_a_page():
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(PLANES, truncate=True, photometric="minisblack")
    with tifffile.TiffFile(BytesIO(buffer.getvalue())) as file:
        assert json.loads(file.pages.first.description)["truncated"]
        assert len(file.pages) == 1
    assert np.array_equal(np.stack(decode_pages(buffer.getvalue())), PLANES)


def test_samples_in_planes_of_their_own_are_pages():
    stack = np.stack([GREY, 255 - GREY, GREY // 2, GREY // 3])
    data = tiff(stack, photometric="minisblack", planarconfig="separate")
    with tifffile.TiffFile(BytesIO(data)) as file:
        assert file.pages.first.samplesperpixel == 4
    assert np.array_equal(np.stack(decode_pages(data)), stack)


def test_pages_of_8_and_of_16_bits_in_one_tiff_keep_their_types():
    eight, sixteen = decode_pages(written((GREY, {}), (GREY16, {})))
    assert (eight.dtype, sixteen.dtype) == (np.uint8, np.uint16)
    assert np.array_equal(eight, GREY)
    assert np.array_equal(sixteen, GREY16)


@pytest.mark.parametrize("planes", [0, 3, 8193])
def test_an_unknown_arrangement_of_samples_is_an_error(planes):
    tags = {"photometric": (3, 2), "samples": (3, 3), "bits": (3, 8)}
    with pytest.raises(ImageError, match="broken or truncated"):
        read_header(small_tiff((284, 3, 1, planes), **tags))


@pytest.mark.parametrize("samples", [1, 3, 4])
def test_an_alpha_tag_without_its_sample_changes_nothing(samples):
    tags = {"samples": (3, samples), "bits": (3, 8), "sizes": (4, samples)}
    file = ImageFile.read(small_tiff((338, 3, 1, 2), **tags))
    assert len(file.header.channels) == (samples if samples == 4 else 0)
    assert file.decode().pages[0].shape[:2] == (1, 1)
