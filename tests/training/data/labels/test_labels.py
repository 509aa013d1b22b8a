"""Label files of every kind that is accepted, written by the programs that write them, and those that are not."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.measure import label as connected_components

from model.images.encoding import encode_png
from training.data.labels.label_files import decode_label_image
from training.data.labels.label_scheme import LabelScheme
from training.data.labels.labels import read_label, separate
from training.data.labels.recognition import resolve
from training.data.labels.stored_label import LabelError, StoredLabel

KINDS = ("PNG", "TIFF", "BMP")
SIDES = np.zeros((6, 8), np.uint8)
SIDES[:2, :3] = 1  # less than half, so that neither side is taken for the other unseen
RAMP = [level for level in range(256) for _ in "rgb"]
RED_ON_BLACK = [0, 0, 0, 128, 0, 0]


def _stored(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    data = BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def _palette(indices, colours: list[int]) -> Image.Image:
    picture = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    picture.putpalette(colours)
    return picture


def _read(data: bytes, label_format="mask"):
    (page,) = decode_label_image(data)
    label = read_label(page, resolve([page], LabelScheme(label_format)))
    return label.classes, label.encoding


def _read_classes(data: bytes, colours=()):
    (page,) = decode_label_image(data)
    label = read_label(page, LabelScheme("classes", 3, colours))
    return label.classes, label.encoding


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode_png(SIDES), id="0/1"),
        pytest.param(encode_png(SIDES * np.uint8(255)), id="0/255"),
        pytest.param(encode_png(SIDES * np.uint16(65535)), id="0/65535"),
        pytest.param(encode_png(np.dstack([SIDES * np.uint8(255)] * 3)), id="equal channels"),
        pytest.param(_stored(Image.fromarray(np.dstack([SIDES * np.uint8(255)] * 3 + [SIDES * 0 + 7]))), id="alpha"),
        *(pytest.param(_stored(Image.fromarray(SIDES > 0), kind), id=f"1 bit {kind}") for kind in KINDS),
        pytest.param(_stored(Image.fromarray(SIDES > 0), "TIFF", tiffinfo={262: 0}), id="1 bit, white is 0"),
        *(pytest.param(_stored(_palette(SIDES, RED_ON_BLACK), kind), id=f"palette {kind}") for kind in KINDS),
        pytest.param(_stored(_palette(SIDES * np.uint8(7), [0, 90, 0] * 8)), id="index 7, all colours the same"),
        pytest.param(_stored(_palette(SIDES, RED_ON_BLACK), transparency=0), id="transparent palette"),
        pytest.param(_stored(_palette(SIDES * np.uint8(255), RAMP)), id="palette of the grey levels"),
        pytest.param(_stored(_palette(1 - SIDES, [255, 255, 255, 0, 0, 0])), id="palette of white and black"),
    ],
)
def test_masks_of_every_kind_mean_the_same(data):
    for label_format, expected in (("mask", SIDES == 1), ("inverted", SIDES == 0)):
        foreground, encoding = _read(data, label_format)
        assert foreground.dtype == np.uint8
        assert (foreground == expected).all()
        assert encoding.scheme.format == label_format


CLASSES = np.arange(48, dtype=np.uint8).reshape(6, 8) % np.uint8(3)
COLOURS = ((0, 0, 0), (255, 0, 0), (0, 90, 200))
IN_COLOURS = np.array(COLOURS, np.uint8)[CLASSES]
GREYS = np.array([0, 128, 255], np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode_png(CLASSES), id="8 bits"),
        pytest.param(encode_png(CLASSES.astype(np.uint16)), id="16 bits"),
        pytest.param(encode_png(np.dstack([CLASSES] * 3)), id="equal channels"),
        *(
            pytest.param(_stored(_palette(CLASSES, [9, 9, 0, *RED_ON_BLACK]), kind), id=f"palette {kind}")
            for kind in KINDS
        ),
    ],
)
def test_classes_are_the_values_or_a_palettes_indices(data):
    label, encoding = _read_classes(data)
    assert label.dtype == np.uint8
    assert (label == CLASSES).all()
    assert encoding.values == (0, 2)


@pytest.mark.parametrize(
    ("data", "colours"),
    [
        pytest.param(encode_png(IN_COLOURS), COLOURS, id="RGB"),
        pytest.param(_stored(Image.fromarray(np.dstack([IN_COLOURS, CLASSES * 0 + 7]))), COLOURS, id="RGBA"),
        pytest.param(_stored(_palette(2 - CLASSES, [*COLOURS[2], *COLOURS[1], *COLOURS[0]])), COLOURS, id="palette"),
        pytest.param(encode_png(GREYS[CLASSES]), tuple((grey,) * 3 for grey in GREYS.tolist()), id="grey levels"),
    ],
)
def test_classes_are_told_apart_by_colour(data, colours):
    label, _ = _read_classes(data, colours)
    assert (label == CLASSES).all()


@pytest.mark.parametrize(
    ("data", "colours", "said"),
    [
        (encode_png(CLASSES * np.uint8(2)), (), "values 0, 2, 4; 0 to 2 are expected"),
        (encode_png(IN_COLOURS), (), "a label in colours; .*`--colours`"),
        (_stored(Image.fromarray(CLASSES), "JPEG"), (), "JPEG does not keep the classes; PNG or TIFF"),
        (
            encode_png(IN_COLOURS + np.uint8(1) * (CLASSES == 1)[..., None]),
            COLOURS,
            "the colours #000101, which no class has; #000000, #ff0000, #005ac8 are expected",
        ),
        (encode_png(IN_COLOURS.astype(np.uint16)), COLOURS, "16 bits; colours have 8"),
        (_stored(Image.fromarray(np.dstack([IN_COLOURS, CLASSES]))), COLOURS, "varying transparency"),
    ],
)
def test_labels_that_fit_no_class_are_refused(data, colours, said):
    with pytest.raises(LabelError, match=said):
        _read_classes(data, colours)


def test_masks_of_more_values_may_be_classes():
    with pytest.raises(LabelError, match=r"`--label-format classes` classes"):
        _read(encode_png(CLASSES))


def test_the_encoding_has_values_and_bits():
    _, encoding = _read(_stored(_palette(SIDES, RED_ON_BLACK)))
    assert (encoding.palette, encoding.values) == (True, (0, 1))
    _, encoding = _read(encode_png(SIDES * np.uint16(65535)))
    assert (encoding.palette, encoding.values, encoding.bits) == (False, (0, 65535), 16)


@pytest.mark.parametrize(("value", "side"), [(0, False), (1, True), (255, True)])
def test_one_label_may_be_all_foreground_or_all_background(value, side):
    foreground, _ = _read(encode_png(np.full((4, 4), value, np.uint8)))
    assert (foreground == side).all()


def test_the_indices_of_a_palette_stack_are_read_page_by_page():
    first, second = _palette(SIDES, RED_ON_BLACK), _palette(1 - SIDES, RED_ON_BLACK)
    pages = decode_label_image(_stored(first, "TIFF", save_all=True, append_images=[second]))
    assert [read_label(page, LabelScheme("mask")).classes[0, 0] for page in pages] == [1, 0]


SEVEN = np.arange(7, dtype=np.uint8)[None]
NOISY = Image.fromarray(np.random.default_rng(0).integers(0, 256, (36, 64)).astype(np.uint8))  # no ends


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encode_png(np.dstack([SEVEN, 9 - SEVEN, SEVEN])), "a label in colours; one channel"),
        (_stored(Image.fromarray(np.dstack([SIDES, SIDES, SIDES, SIDES]))), "varying transparency; no alpha"),
        (encode_png(SEVEN), r"values 0, 1, 2, 3, 4, 5, \.\.\.; .*`--label-format instances` reads ids"),
        (_stored(_palette(SEVEN % 4, [9, 0, 0] * 4)), r"values 0, 1, 2, 3; .*`--label-format instances`"),
        (_stored(NOISY, "JPEG"), "JPEG blurs a label's values"),
        (_stored(NOISY, "TIFF", compression="jpeg"), "JPEG blurs a label's values"),
        (_stored(NOISY, "WEBP"), "lossy WebP blurs a label's values"),
    ],
)
def test_other_pixels_are_refused_with_their_values_and_what_to_do(data, message):
    for label_format in ("mask", "inverted"):
        with pytest.raises(LabelError, match=message):
            _read(data, label_format)


IDS = np.zeros((20, 30), np.uint16)
IDS[2:10, 2:10], IDS[2:10, 10:20], IDS[10:18, 2:20], IDS[2:8, 24:28] = 700, 3, 65535, 9


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode_png(IDS), id="16 bits"),
        pytest.param(encode_png((IDS % 251).astype(np.uint8)), id="8 bits"),
        pytest.param(_stored(_palette((IDS % 251).astype(np.uint8), [5, 5, 90] * 256)), id="palette"),
    ],
)
def test_ids_become_objects_with_borders(data):
    foreground, encoding = _read(data, "instances")
    assert (encoding.objects, encoding.lost) == (4, 0)
    row = IDS[4] > 0
    row[9:11] = False  # between 700 and 3
    assert (foreground[4] == row).all()
    assert foreground[2, 2]  # an edge towards the background stays
    assert (foreground[2:8, 24:28]).all()  # and so does an object that touches none


def test_objects_that_borders_leave_nothing_of_are_counted():
    ids = np.full((6, 6), 2, np.uint8)
    ids[3, 3] = 5
    _, encoding = _read(encode_png(ids), "instances")
    assert (encoding.objects, encoding.lost) == (2, 1)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        pytest.param({"kind": "JPEG"}, "JPEG", id="JPEG"),
        pytest.param({"kind": "TIFF", "compression": "jpeg"}, "JPEG", id="JPEG in TIFF"),
        pytest.param({"kind": "WEBP"}, "lossy WebP", id="WebP"),
        pytest.param({"kind": "WEBP", "icc_profile": b"odd"}, "lossy WebP", id="WebP with a chunk before"),
    ],
)
def test_lossy_formats_are_refused_for_instance_ids(options, name):
    with pytest.raises(LabelError, match=f"^{name} does not keep the ids of objects; PNG or TIFF"):
        _read(_stored(Image.fromarray(SIDES), **options), "instances")


def test_lossless_webp_can_hold_ids():
    foreground, _ = _read(_stored(Image.fromarray(np.dstack([SIDES] * 3)), "WEBP", lossless=True), "instances")
    assert (foreground == (SIDES > 0)).all()


@pytest.mark.parametrize("border", [1, 2, 3, 5])
def test_no_connected_piece_joins_two_ids(border):
    rng = np.random.default_rng(border)
    coarse = cv2.resize(rng.integers(0, 6, (12, 12)).astype(np.uint16), (90, 90), interpolation=cv2.INTER_NEAREST)
    fine = rng.integers(0, 3, (60, 60)).astype(np.uint16)
    for ids in (coarse.astype(np.uint16), fine):
        foreground = separate(ids, border)
        assert not foreground[ids == 0].any()
        pieces = connected_components(foreground, connectivity=1)
        for piece in range(1, pieces.max() + 1):
            assert len(np.unique(ids[pieces == piece])) == 1


@pytest.mark.parametrize("border", [1, 2, 3, 4])
def test_a_border_is_as_wide_as_was_asked_for(border):
    ids = np.repeat(np.array([[1] * 10 + [2] * 10], np.uint8), 5, axis=0)
    assert (~separate(ids, border)).sum(axis=1).tolist() == [border] * 5


def test_no_border_is_refused():
    with pytest.raises(ValueError, match="border of 0 pixels; at least 1"):
        separate(np.ones((2, 2), np.uint8), 0)


def test_ids_as_large_as_those_of_databases_are_numbered_anew():
    ids = np.zeros((6, 8), np.int32)
    ids[:2, :3], ids[3:, 4:] = 2_000_000_000, 7
    label = read_label(StoredLabel(ids, 32), LabelScheme("instances"))
    assert label.ids is not None
    assert np.array_equal(label.ids, np.select([ids > 7, ids == 7], [2, 1]))
