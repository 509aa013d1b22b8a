"""What may be saved: formats, sizes and values of an image and its label."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from app.problems import Problem
from app.saving.checked_pair import CheckedPair, check_pair, measure_pair
from model.images.decoding import decode_image
from model.inputs.preprocessing import Pixels

ToFile = Callable[..., bytes]

GREY = np.random.default_rng(0).integers(0, 256, (9, 7), np.uint8)
MASK = np.zeros((9, 7), np.uint8)
MASK[2:5] = 255
RGB = np.repeat(GREY[:, :, np.newaxis], 3, axis=2) ^ np.array([0, 1, 2], np.uint8)


def _check(image: bytes, label: bytes, classes: int = 1, max_pixels: int = 1000) -> CheckedPair:
    return check_pair(measure_pair(image, label, max_pixels), classes)


def _tiff(*pages: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.squeeze(np.stack(pages)), **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP", "JPEG"])
def test_an_image_keeps_its_bytes_and_its_format(to_file: ToFile, kind: str):
    image = to_file(RGB, kind, **({"lossless": True} if kind == "WEBP" else {}))
    pair = _check(image, to_file(MASK))
    assert pair.image == image
    assert pair.suffix == {"TIFF": ".tif", "JPEG": ".jpg"}.get(kind, f".{kind.lower()}")
    assert (pair.kind, pair.classes, pair.size) == ("mask", 1, (9, 7))


def test_the_id_depends_on_the_pixels_and_not_on_the_compression(to_file: ToFile):
    first = _check(to_file(GREY, compress_level=0), to_file(MASK))
    second = _check(to_file(GREY, compress_level=9), to_file(255 - MASK))
    assert first.id == second.id
    assert len(first.id) == 32
    others = (to_file(GREY ^ 1), to_file(GREY.reshape(7, 9)), to_file(GREY, "TIFF"), to_file(GREY.astype(np.uint16)))
    ids = {_check(image, to_file(MASK.reshape(decode_image(image).shape))).id for image in others}
    assert len(ids | {first.id}) == 5


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        ((0, 255), np.uint8, "mask"),
        ((0, 1), np.uint8, "mask"),
        ((0, 65535), np.uint16, "mask"),
        ((0,), np.uint8, "mask"),
        ((0, 1, 2), np.uint8, "instances"),
        ((0, 7), np.uint8, "instances"),
        ((0, 300, 65535), np.uint16, "instances"),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_labels_keep_their_values(to_file: ToFile, values: tuple[int, ...], dtype: Any, kind: str, form: str):
    label = np.resize(np.array(values, dtype), (9, 7))
    pair = _check(to_file(GREY), to_file(label, form))
    assert pair.kind == kind
    stored = decode_image(pair.label)
    assert stored.dtype == dtype
    assert np.array_equal(stored, label)


def test_a_net_of_several_classes_takes_its_class_indices(to_file: ToFile):
    label = np.resize(np.arange(3, dtype=np.uint8), (9, 7))
    assert _check(to_file(GREY), to_file(label), classes=3).kind == "classes"
    with pytest.raises(Problem, match=r"has the value 2; the net's classes are 0 to 1\."):
        _check(to_file(GREY), to_file(label), classes=2)


@pytest.mark.parametrize(
    ("image", "label", "status", "detail"),
    [
        ("grey", b"no image", 400, "Part label: The file is not an image"),
        (b"", "mask", 400, "Part image: The file is empty."),
        ("cut", "mask", 400, "Part image: The PNG file is broken or truncated."),
        ("grey", "cut", 400, "Part label: The PNG file is broken or truncated."),
        (b"GIF89a" + bytes(20), "mask", 415, "Part image: .*GIF"),
        ("grey", "jpeg", 415, "Part label: JPEG is not accepted; send PNG or TIFF."),
        ("grey", "bmp", 415, "Part label: BMP is not accepted"),
        ("grey", "jpeg in tiff", 415, "Part label: JPEG is not accepted"),
        ("grey", "rgb", 422, "The label must have one channel of 8 or 16 bits."),
        ("grey", "float", 422, "The label must have one channel of 8 or 16 bits."),
        ("grey", "palette", 422, "The label must have one channel of 8 or 16 bits."),
        ("grey", "stack", 422, "The label must have one page and one channel."),
        ("stack", "mask", 422, "The image has 2 pages; send the page that the label is for."),
        ("channels", "mask", 422, "The image has 2 channels; send the channel that the net takes."),
        ("grey", "turned", 422, "The label has 9 x 7 pixels, the image 7 x 9; both must have the same size."),
        ("large", "mask", 422, "Part image: The image has 50 x 50 pixels, more than 1000 in all."),
        ("grey", "large", 422, "Part label: The image has 50 x 50 pixels, more than 1000 in all."),
    ],
)
def test_what_training_could_not_read_is_refused(
    to_file: ToFile, image: str | bytes, label: str | bytes, status: int, detail: str
):
    files = {
        "grey": to_file(GREY),
        "mask": to_file(MASK),
        "cut": to_file(GREY)[:-20],
        "jpeg": to_file(MASK, "JPEG"),
        "bmp": to_file(MASK, "BMP"),
        "jpeg in tiff": _tiff(np.zeros((16, 16), np.uint8), compression="jpeg"),
        "rgb": to_file(RGB),
        "float": _tiff(MASK.astype(np.float32)),
        "palette": _palette(MASK),
        "stack": _tiff(MASK, MASK, photometric="minisblack"),
        "channels": _tiff(GREY, GREY, imagej=True, metadata={"axes": "CYX"}),
        "turned": to_file(MASK.reshape(7, 9)),
        "large": to_file(np.zeros((50, 50), np.uint8)),
    }
    given = [files[each] if isinstance(each, str) else each for each in (image, label)]
    with pytest.raises(Problem, match=f"^{detail}") as caught:
        _check(given[0], given[1])
    assert caught.value.status == status


def _palette(label: Pixels) -> bytes:
    picture = Image.fromarray(label).convert("P")
    picture.putpalette([value for index in range(256) for value in (index, 0, 255 - index)])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
