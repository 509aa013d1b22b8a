"""What is said of a training's data before it starts."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from training.data.folder import Sample, load_samples
from training.data.inspection import background_is_borders, foreground_is_thin, inspect
from training.data.labels.label_scheme import LabelScheme
from training.synthetic import cells

SECTIONS = Path(__file__).parents[4] / "shared" / "isbi2012" / "train"
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def _label(rows: int, high: int = 255):
    """8 x 8, the first rows foreground."""
    label = np.zeros((8, 8), np.uint8)
    label[:rows] = high
    return label


def test_images_and_masks_take_a_line_each(tmp_path, write_pair):
    for stem, rows in (("0", 4), ("1", 6)):
        write_pair(tmp_path, stem, GREY, _label(rows))
    assert inspect(load_samples(tmp_path)) == [
        "images: 2 files, 8 x 8, 8 bits, grey",
        "labels: 2 files; foreground = 255, background = 0; 62% foreground (50% to 75%)",
    ]


def test_mixtures_are_said(tmp_path, write_pair):
    write_pair(tmp_path, "0", GREY, _label(4))
    write_pair(tmp_path, "1", GREY.astype(np.uint16)[:, :4], _label(4, 1)[:, :4])
    write_pair(tmp_path, "2", np.dstack([GREY] * 3)[:7], _label(4)[:7])
    images, labels = inspect(load_samples(tmp_path))
    assert images == "images: 3 files, 3 sizes from 4 x 8 to 8 x 8, 8 bits (2) and 16 bits (1), grey (2) and RGB (1)"
    assert labels.startswith("labels: 3 files; foreground = 255 (2) and 1 (1), background = 0; 53% foreground")


def test_pages_of_a_stack_are_called_pages(tmp_path):
    for part, page in (("image", GREY), ("label", _label(4))):
        (tmp_path / part).mkdir()
        assert cv2.imwritemulti(str(tmp_path / part / "volume.tif"), [page, page, page * np.uint8(0)])
    lines = inspect(load_samples(tmp_path))
    assert lines[1].startswith("labels: 3 pages; foreground = 255, background = 0")
    assert lines[2:] == ["warning: volume.tif[2] has no foreground"]


@pytest.mark.parametrize(("label_format", "side"), [("mask", "background"), ("inverted", "foreground")])
def test_the_meaning_of_palette_index_0_is_reported(tmp_path, write_pair, label_format, side):
    for stem in ("0", "1"):
        write_pair(tmp_path, stem, GREY, _label(4))
    picture = Image.frombytes("P", (8, 8), _label(4, 1).tobytes())
    picture.putpalette([0, 0, 0, 200, 0, 0])
    picture.save(tmp_path / "label/1.png")
    labels = inspect(load_samples(tmp_path, LabelScheme(label_format)))[1]
    other = "foreground" if side == "background" else "background"
    assert f"{side} = 0" in labels
    assert f"{other} = 255 (1) and 1 (1)" in labels
    assert "(palette indices in 1)" in labels


def test_instances_are_counted(tmp_path, write_pair):
    ids = np.zeros((8, 8), np.uint16)
    ids[:, :3], ids[:4, 3:6] = 1, 900
    write_pair(tmp_path, "0", GREY, ids)
    write_pair(tmp_path, "1", GREY, np.where(ids == 1, ids, 0).astype(np.uint16))
    _, labels = inspect(load_samples(tmp_path, LabelScheme("instances")))
    assert labels == (
        "labels: 2 files; instance ids (16 bits), 1 to 2 objects each; borders of 2 pixels between objects that touch; "
        "41% foreground (38% to 44%)"
    )


def test_masks_that_are_read_as_instances_are_suspected(tmp_path, write_pair):
    write_pair(tmp_path, "0", GREY, _label(4))
    assert inspect(load_samples(tmp_path, LabelScheme("instances")))[-1].endswith(
        "for labels of two values: --label-format mask"
    )


def test_objects_lost_to_borders_are_said(tmp_path, write_pair):
    ids = np.full((8, 8), 2, np.uint8)
    ids[3, 3] = 5
    write_pair(tmp_path, "0", GREY, ids)
    assert inspect(load_samples(tmp_path, LabelScheme("instances")))[-1] == (
        "warning: 1 object(s) are too small to be left beside their borders: 0.png"
    )


def test_labels_of_one_side_are_named(tmp_path, write_pair):
    for stem, rows in (("0", 0), ("1", 4), ("2", 8), ("3", 8)):
        write_pair(tmp_path, stem, GREY, _label(rows))
    assert inspect(load_samples(tmp_path))[2:] == [
        "warning: 0.png has no foreground",
        "warning: 2.png, 3.png have no background",
    ]


@pytest.mark.skipif(not SECTIONS.is_dir(), reason="needs the ISBI 2012 sections beside the project")
def test_real_sections_are_not_suspected_unless_inverted():
    assert len(inspect(load_samples(SECTIONS))) == 2
    (warning,) = inspect(load_samples(SECTIONS, LabelScheme("inverted")))[2:]
    assert "thin net that encloses islands of background. Are the islands the objects?" in warning
    assert warning.endswith("--label-format mask")


@pytest.mark.parametrize("side", [128, 256])
def test_synthetic_cells_are_not_suspected_unless_inverted(tmp_path, write_pair, side):
    for index in range(4):
        image, label = cells(side, np.random.default_rng(index))
        write_pair(tmp_path, str(index), image, label.astype(np.uint8))
    assert len(inspect(load_samples(tmp_path))) == 2
    assert background_is_borders(load_samples(tmp_path))
    assert inspect(load_samples(tmp_path, LabelScheme("inverted")))[-1].endswith("--label-format mask")
    for index, sample in enumerate(load_samples(tmp_path)):
        write_pair(tmp_path, str(index), sample.pixels, 1 - sample.label)
    assert inspect(load_samples(tmp_path))[-1].endswith("--label-format inverted")


def test_sparse_blobs_are_not_suspected(tmp_path, write_pair):
    rng = np.random.default_rng(0)
    for index in range(4):
        label = np.zeros((128, 128), np.uint8)
        for x, y in rng.integers(8, 120, (4 + 4 * index, 2)).tolist():
            cv2.circle(label, (x, y), 6, 255, -1)
        write_pair(tmp_path, str(index), label, label)
    assert len(inspect(load_samples(tmp_path))) == 2
    assert not background_is_borders(load_samples(tmp_path))


def test_the_few_labels_that_are_the_others_inverse_are_named(tmp_path, write_pair):
    for index in range(8):
        rows = 2 if index in (3, 5) else 6
        write_pair(tmp_path, str(index), GREY, _label(rows))
    assert inspect(load_samples(tmp_path))[2:] == [
        "warning: the foreground of 3.png, 5.png looks like the background of the other labels. "
        "Are these labels inverted?"
    ]


def test_long_lists_are_cut(tmp_path, write_pair):
    for index in range(9):
        write_pair(tmp_path, str(index), GREY, _label(4 if index == 8 else 0))
    assert inspect(load_samples(tmp_path))[-1].endswith("5.png and 2 more have no foreground")


def test_samples_that_come_from_no_file_are_left_out():
    assert inspect([Sample("0", GREY, GREY)]) == []


def test_classes_are_listed_with_their_shares(tmp_path, write_pair):
    label = np.repeat(np.array([0, 1, 2, 2], np.uint8), 2)[:, None] * np.ones((1, 8), np.uint8)
    write_pair(tmp_path, "0", GREY, label)
    write_pair(tmp_path, "1", GREY, label)
    samples = load_samples(tmp_path, LabelScheme(classes=3))
    assert inspect(samples, ["background", "nucleus", "border"])[1:] == [
        "labels: 2 files; 3 classes: background 25%, nucleus 25%, border 50%"
    ]
    assert inspect(samples)[1].endswith("background 25%, class 1 25%, class 2 50%")


def test_absent_classes_and_labels_of_one_class_cause_warnings(tmp_path, write_pair):
    colours = np.zeros((8, 8, 3), np.uint8)
    write_pair(tmp_path, "0", GREY, colours)
    colours[0, 0] = 255
    write_pair(tmp_path, "1", GREY, colours)
    scheme = LabelScheme(classes=3, colours=((0, 0, 0), (255, 0, 0), (255, 255, 255)))
    assert inspect(load_samples(tmp_path, scheme))[1:] == [
        "labels: 2 files; 3 classes by colour: background = #000000 99%, class 1 = #ff0000 0%, class 2 = #ffffff 0.8%",
        "warning: no label has any class 1",
        "warning: 0.png has one class only",
    ]


def _tree(width: int):
    """A branching line through 200 x 300 pixels, such as a vessel or a crack."""
    label = np.zeros((200, 300), np.uint8)
    points = np.array([[10, 20], [90, 60], [150, 110], [220, 100], [290, 180]])
    cv2.polylines(label, [points, np.array([[90, 60], [110, 120], [60, 190]])], False, 1, width)
    return label


def _blobs(radius: int):
    label = np.zeros((200, 300), np.uint8)
    for x, y in np.random.default_rng(0).integers(20, 180, (12, 2)).tolist():
        cv2.circle(label, (x, y), radius, 1, -1)
    return label


@pytest.mark.parametrize("width", [1, 3, 7])
def test_lines_are_thin(width):
    assert foreground_is_thin(
        [Sample("0", _tree(width), _tree(width)), Sample("1", _tree(width), _tree(width) * np.uint8(0))]
    )


@pytest.mark.parametrize("label", [_blobs(3), _blobs(15), np.ones((50, 50), np.uint8), np.zeros((50, 50), np.uint8)])
def test_blobs_and_plain_labels_are_not_thin(label):
    assert not foreground_is_thin([Sample("0", label, label)])


def test_cells_between_membranes_are_not_thin(cells_folder):
    assert not foreground_is_thin(load_samples(cells_folder))


def test_thin_structures_are_reported_without_advice_to_invert(tmp_path, write_pair):
    for stem, width in (("0", 2), ("1", 4)):
        tree = _tree(width)
        cv2.polylines(tree, [np.array([[90, 60], [120, 20], [200, 40], [150, 110]])], True, 1, width)  # a loop
        write_pair(tmp_path, stem, tree, tree)
    (_, labels) = inspect(load_samples(tmp_path))
    assert labels.endswith("thin structures")


def test_the_understanding_of_the_labels_is_one_line(tmp_path, write_pair):
    for stem, width in (("0", 2), ("1", 4)):
        label = _tree(width) + np.uint8(1)
        label[:10] = 9
        write_pair(tmp_path, stem, label, label)
    assert inspect(load_samples(tmp_path, LabelScheme(ignore=(9,))))[1] == (
        "labels: 2 files; foreground = 2, background = 1; 3.4% foreground (2.6% to 4.2%); thin structures; "
        "5% ignored (9)"
    )


def test_a_threshold_is_said(tmp_path, write_pair):
    label = cv2.GaussianBlur(_blobs(15) * np.uint8(255), (5, 5), 0)
    write_pair(tmp_path, "0", label, label)
    assert (
        "foreground = values above 127.5, background = values up to 127.5 (grey levels 0 to 255)"
        in inspect(load_samples(tmp_path))[1]
    )
