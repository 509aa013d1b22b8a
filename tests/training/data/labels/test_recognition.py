"""Kinds of labels that are recognised from all labels of a folder together."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from model.images.encoding import encode_png
from training.data.labels.label_files import decode_label_image
from training.data.labels.label_scheme import HALF, IGNORED, LabelScheme
from training.data.labels.labels import read_label
from training.data.labels.recognition import resolve, resolve_folders
from training.data.labels.stored_label import LabelError, StoredLabel

BLOBS = np.zeros((48, 64), np.uint8)
for _row, _column in ((10, 12), (30, 20), (14, 45), (36, 50)):
    cv2.circle(BLOBS, (_column, _row), 6, 1, -1)


def _found(*grids, **options) -> LabelScheme:
    return resolve([StoredLabel(grid) for grid in grids], LabelScheme(**options))


def _read(stored: StoredLabel, scheme: LabelScheme):
    return read_label(stored, scheme).classes


def _ids(count: int, dtype=np.uint8):
    """Disjoint squares with the ids 1 to `count`."""
    grid = np.zeros((48, 64), dtype)
    for number in range(count):
        row, column = divmod(number, 8)
        grid[8 * row + 1 : 8 * row + 6, 8 * column + 1 : 8 * column + 6] = number + 1
    return grid


def _stripes(classes: int, shift: int = 0):
    """Classes 0 to K-1 as vertical stripes, each class several times."""
    columns = (np.arange(64) // 4 + shift) % classes
    return np.repeat(columns[None], 48, axis=0).astype(np.uint8)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 1, np.uint8),
        (0, 255, np.uint8),
        (1, 2, np.uint8),
        (0, 127, np.uint8),
        (3, 90, np.uint8),
        (7, 900, np.int32),
        (1, 255, np.uint8),
        (255, 65535, np.uint16),
    ],
)
def test_any_two_values_are_a_mask_with_the_lower_as_background(low, high, dtype):
    grid = np.where(BLOBS, high, low).astype(dtype)
    scheme = _found(grid, grid[::-1])
    assert scheme.format == "mask"
    assert (_read(StoredLabel(grid), scheme) == BLOBS).all()


def test_masks_of_0_and_1_mix_with_masks_of_0_and_255():
    scheme = _found(BLOBS, BLOBS * np.uint8(255))
    assert scheme == LabelScheme("mask")


def test_named_values_win_over_found_ones():
    scheme = _found(BLOBS + np.uint8(1), values=(2, 1))
    assert (_read(StoredLabel(BLOBS + np.uint8(1)), scheme) == 1 - BLOBS).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_values_of_one_piece_each_are_ids(dtype):
    assert _found(*(_ids(count, dtype) for count in (5, 12, 31))).format == "instances"


def test_large_scattered_values_are_ids():
    assert _found(*(_ids(count).astype(np.uint16) * 613 for count in (5, 12))).format == "instances"


def test_a_single_label_of_many_objects_is_ids():
    assert _found(_ids(9)).format == "instances"


def test_values_of_several_pieces_are_classes():
    scheme = _found(*(_stripes(5, shift) for shift in range(3)))
    assert (scheme.format, scheme.classes, scheme.values) == ("classes", 5, ())


def test_values_in_every_label_are_classes_though_each_is_one_piece():
    """As of organs in sections of a body."""
    assert _found(*(_ids(3) for _ in range(4))).format == "classes"


def test_values_that_skip_lower_ones_are_classes():
    one, two = _ids(3), _ids(3)
    one[one == 1], two[two == 2] = 0, 0
    assert _found(one, two).format == "classes"


def test_scattered_class_values_are_mapped_in_their_order():
    values = np.array([0, 7, 38], np.uint8)
    scheme = _found(values[_stripes(3)], values[_stripes(3, 1)])
    assert (scheme.classes, scheme.values) == (3, (0, 7, 38))
    assert (_read(StoredLabel(values[_stripes(3)]), scheme) == _stripes(3)).all()


def test_a_class_that_few_labels_lack_keeps_its_index():
    grid = _stripes(6)
    grid[grid == 4] = 0
    assert (_found(grid).classes, _found(grid).values) == (6, ())


def test_named_class_values_refuse_other_values():
    scheme = _found(_stripes(4), values=(0, 1, 3), classes=3)
    with pytest.raises(LabelError, match=r"values 0, 1, 2, 3; 0, 1, 3 are expected; .*`--ignore`"):
        _read(StoredLabel(_stripes(4)), scheme)


def test_255_beside_classes_is_ignored():
    grid = _stripes(5)
    grid[:3] = 255
    scheme = _found(grid, _stripes(5))
    assert (scheme.classes, scheme.ignore) == (5, (255,))
    read = _read(StoredLabel(grid), scheme)
    assert (read[:3] == IGNORED).all()
    assert (read[3:] == grid[3:]).all()


def test_255_beside_0_and_1_is_ignored():
    grid = BLOBS.copy()
    grid[:, :4] = 255
    scheme = _found(grid, BLOBS)
    assert (scheme.format, scheme.ignore) == ("mask", (255,))
    assert (_read(StoredLabel(grid), scheme)[:, :4] == IGNORED).all()


def test_255_beside_ids_is_ignored():
    grid = _ids(12)
    grid[-4:] = 255
    label = read_label(StoredLabel(grid), scheme := _found(grid, _ids(5)))
    assert scheme.format == "instances"
    assert label.ids is not None
    assert label.ids.max() == 12
    assert (label.classes[-4:] == IGNORED).all()


def test_negative_values_are_ignored():
    grid = BLOBS.astype(np.int32)
    grid[:3] = -1
    assert (_read(StoredLabel(grid), _found(grid))[:3] == IGNORED).all()


def test_named_values_are_ignored():
    scheme = _found(_stripes(5), ignore=(4,))
    assert scheme.classes == 4
    assert ((_read(StoredLabel(_stripes(5)), scheme) == IGNORED) == (_stripes(5) == 4)).all()


def _saved(grid, kind: str, **options) -> StoredLabel:
    data = BytesIO()
    Image.fromarray(grid).save(data, kind, **options)
    (page,) = decode_label_image(data.getvalue())
    return page


SMOOTH = cv2.resize(cv2.resize(BLOBS * np.uint8(255), (256, 192)), (90, 70)).astype(np.uint8)


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(StoredLabel(SMOOTH), id="smooth edges"),
        pytest.param(_saved(SMOOTH, "JPEG", quality=75), id="JPEG"),
        pytest.param(_saved(np.dstack([SMOOTH] * 3), "JPEG", quality=90), id="JPEG of three channels"),
        pytest.param(_saved(_saved(SMOOTH, "JPEG", quality=90).values, "PNG"), id="PNG of a JPEG"),
        pytest.param(_saved(SMOOTH, "WEBP", quality=80), id="WebP"),
        pytest.param(StoredLabel(SMOOTH.astype(np.uint16) * np.uint16(257)), id="16 bits"),
    ],
)
def test_masks_with_grey_edges_get_a_threshold_at_half(stored):
    scheme = resolve([stored], LabelScheme())
    assert scheme.threshold == pytest.approx(stored.values.max() / 2, abs=2)
    wrong = (_read(stored, scheme) == 1) != (SMOOTH > 127)
    assert wrong.mean() < 0.01


def test_a_threshold_can_be_named():
    ramp = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None], 9, axis=0)
    assert (_read(StoredLabel(ramp), _found(ramp, threshold=30.5)) == (ramp > 30)).all()
    assert _found(ramp, threshold=HALF).threshold == 99
    assert (_read(StoredLabel(ramp), _found(ramp, threshold=0.0)) == (ramp > 0)).all()


def test_a_grey_picture_is_refused_and_the_options_are_named():
    picture = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
    with pytest.raises(LabelError, match=r"`--label-format instances`.*`--label-format classes`.*`--threshold-labels`"):
        _read(StoredLabel(picture), _found(picture, BLOBS))


def test_three_grey_levels_are_classes_and_no_mask():
    greys = np.array([0, 128, 255], np.uint8)
    assert _found(greys[_stripes(3)], greys[_stripes(3, 1)]).values == (0, 128, 255)


@pytest.mark.parametrize(
    ("background", "foreground"),
    [((0, 0, 0), (200, 0, 0)), ((255, 255, 255), (0, 90, 200)), ((68, 1, 84), (253, 231, 37))],
)
def test_two_colours_are_a_mask(background, foreground):
    grid = np.array([background, foreground], np.uint8)[BLOBS]
    (page,) = decode_label_image(encode_png(grid))
    scheme = resolve([page], LabelScheme())
    assert scheme.colours == (background, foreground)
    assert (_read(page, scheme) == BLOBS).all()


def test_several_colours_are_classes():
    colours = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.uint8)
    pages = [page for shift in (0, 1) for page in decode_label_image(encode_png(colours[_stripes(3, shift)]))]
    scheme = resolve(pages, LabelScheme())
    assert scheme.colours == ((0, 0, 0), (0, 128, 0), (128, 0, 0))
    assert set(np.unique(_read(pages[0], scheme))) == {0, 1, 2}


def test_a_resolved_scheme_reads_the_same_again():
    for grids in ([BLOBS + np.uint8(1)], [_ids(5), _ids(9)], [_stripes(5)], [SMOOTH]):
        scheme = _found(*grids)
        assert resolve([StoredLabel(grid) for grid in grids], scheme) == scheme


def test_255_that_is_alone_in_its_label_is_not_ignored():
    found = _found(BLOBS * 255, BLOBS * 2, BLOBS * 255)
    assert found.ignore == ()
    assert _read(StoredLabel(BLOBS * 255), found).any()


@pytest.mark.parametrize(("low", "high"), [(0, 2), (1, 2), (0, 1)])
def test_each_folder_of_masks_has_two_values_of_its_own(low, high):
    folders = {"a": [StoredLabel(BLOBS * 255)], "b": [StoredLabel(low + BLOBS * (high - low))]}
    found, schemes = resolve_folders(folders, LabelScheme())
    for again in (schemes, resolve_folders(folders, found)[1]):  # a stored scheme reads the same again
        for name, (label,) in folders.items():
            assert (_read(label, again[name]) == BLOBS).all()


MASKS, ONES, IDS = [StoredLabel(BLOBS * 255)], [StoredLabel(_ids(1))], [StoredLabel(_ids(9)), StoredLabel(_ids(4))]


def test_masks_of_255_beside_a_folder_of_ids_are_refused():
    with pytest.raises(LabelError, match=r"a has masks, another folder instances; .*--threshold-labels 0"):
        resolve_folders({"a": MASKS, "b": IDS}, LabelScheme())
    _, schemes = resolve_folders({"a": MASKS, "b": IDS}, LabelScheme(threshold=0.0))
    assert {scheme.format for scheme in schemes.values()} == {"mask"}


def test_one_object_an_image_beside_a_folder_of_ids_is_an_id():
    _, schemes = resolve_folders({"a": ONES, "b": IDS}, LabelScheme())
    assert {scheme.format for scheme in schemes.values()} == {"instances"}


def _indexed(colours, order):
    """Stripes of colours as a PNG whose palette has them in another order."""
    image = Image.fromarray(np.argsort(order)[_stripes(len(colours))].astype(np.uint8), "P")
    image.putpalette([channel for place in order for channel in colours[place]])
    out = BytesIO()
    image.save(out, "PNG")
    return decode_label_image(out.getvalue())[0]


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
def test_palettes_in_another_order_are_read_by_their_colours(order):
    colours = [(0, 0, 0), (0, 200, 0), (200, 0, 0)]
    labels = [_indexed(colours, (0, 1, 2)), _indexed(colours, order)]
    found = resolve(labels, LabelScheme())
    assert found.colours == tuple(colours)
    for label in labels:
        assert (_read(label, found) == _stripes(3)).all()


def test_equal_palettes_are_read_by_their_indices():
    label = _indexed([(0, 0, 0), (0, 200, 0), (200, 0, 0)], (0, 2, 1))
    found = resolve([label, label], LabelScheme())
    assert found.colours == ()
    assert (_read(label, found) == label.values).all()


def test_black_is_the_background_of_a_palette_of_two_colours():
    label = _indexed([(0, 0, 0), (200, 0, 0)], (1, 0))
    assert (_read(label, resolve([label], LabelScheme())) == _stripes(2)).all()


def test_classes_of_the_same_name_are_the_same_class():
    stripes = _stripes(3)
    swapped = np.array([0, 2, 1], np.uint8)[stripes]
    labels = [
        StoredLabel(stripes, names=("background", "cell", "nucleus")),
        StoredLabel(swapped, names=("background", "nucleus", "cell")),
        StoredLabel(np.minimum(stripes, 1), names=("background", "debris", "cell")),
    ]
    found = resolve(labels, LabelScheme())
    assert found.names == ("background", "cell", "nucleus", "debris")
    for label in labels[:2]:
        assert (_read(label, found) == stripes).all()
    assert set(np.unique(_read(labels[2], found))) == {0, 3}
    with pytest.raises(LabelError, match="a label of the class debris; cell, nucleus are expected"):
        read_label(labels[2], resolve(labels[:2], LabelScheme()))
