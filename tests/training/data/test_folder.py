import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data.folder import load_samples
from training.data.labels.label_scheme import LabelScheme
from training.data_error import DataError
from training.run import command as run

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)
HALF = np.repeat(np.array([[0], [255]], np.uint8), 4, axis=0) * np.ones((1, 8), np.uint8)


def test_pairs_come_in_natural_order(tmp_path, write_pair):
    for stem in ("10", "9", "s2", "s11"):
        write_pair(tmp_path, stem, GREY, HALF)
    assert [sample.name for sample in load_samples(tmp_path)] == ["9", "10", "s2", "s11"]


def test_a_pair_is_the_files_pixels_and_a_label_of_0_and_1(tmp_path, write_pair):
    write_pair(tmp_path, "0", GREY, HALF)
    (sample,) = load_samples(tmp_path)
    assert (sample.pixels == GREY).all()
    assert sample.label.dtype == np.uint8
    assert (sample.foreground == (HALF == 255)).all()
    assert (sample.label == (HALF == 255)).all()


@pytest.mark.parametrize("folders", [("imgs", "masks"), ("images", "labels")])
def test_other_folder_names_will_do(tmp_path, write_pair, folders):
    write_pair(tmp_path, "0", GREY, HALF)
    for old, new in zip(("image", "label"), folders, strict=True):
        (tmp_path / old).rename(tmp_path / new)
    assert len(load_samples(tmp_path)) == 1


@pytest.mark.parametrize("high", [1, 255])
def test_labels_of_0_1_and_0_255_mean_the_same(tmp_path, write_pair, high):
    write_pair(tmp_path, "0", GREY, np.where(HALF, high, 0).astype(np.uint8))
    assert (load_samples(tmp_path)[0].label == (HALF > 0)).all()


def test_a_tiff_stack_is_one_sample_a_page(tmp_path):
    for part, page in (("image", GREY), ("label", HALF)):
        (tmp_path / part).mkdir()
        assert cv2.imwritemulti(str(tmp_path / part / "volume.tif"), [page, page[::-1].copy(), page])
    samples = load_samples(tmp_path)
    assert [sample.name for sample in samples] == ["volume[0]", "volume[1]", "volume[2]"]
    assert (samples[1].pixels == GREY[::-1]).all()


def test_everything_wrong_is_named_in_one_message(tmp_path, write_pair):
    for stem in ("good", "broken", "lonely", "small", "grey"):
        write_pair(tmp_path, stem, GREY, HALF)
    (tmp_path / "image/broken.png").write_bytes((tmp_path / "image/broken.png").read_bytes()[:60])
    (tmp_path / "label/lonely.png").unlink()
    write_pair(tmp_path, "small", GREY, HALF[:4])
    write_pair(tmp_path, "grey", GREY, GREY)
    with pytest.raises(DataError) as caught:
        load_samples(tmp_path)
    message = str(caught.value)
    assert message.startswith("4 problems")
    for part in (
        "broken.png",
        "lonely.png: no label",
        "small.png: 8 x 8 pixels",
        "8 x 4",
        "grey.png: a label with the",
    ):
        assert part in message


def test_a_label_without_image_is_a_problem(tmp_path, write_pair):
    write_pair(tmp_path, "0", GREY, HALF)
    (tmp_path / "image/0.png").unlink()
    with pytest.raises(DataError, match=r"label/0\.png: no image"):
        load_samples(tmp_path)


def test_a_missing_data_folder_is_refused_with_the_expected_layout(tmp_path):
    with pytest.raises(DataError, match=r"DIR/image/0\.png(.|\n)*training\.synthetic"):
        load_samples(tmp_path / "nothing")


def test_the_file_at_fault_is_named_with_its_folder(tmp_path: Path, write_pair):
    write_pair(tmp_path, "0", GREY, np.dstack([GREY, GREY[::-1], GREY]))
    with pytest.raises(DataError, match=r"label/0\.png: a label in colours"):
        load_samples(tmp_path)


def test_two_files_of_one_name_are_a_problem(tmp_path: Path, write_pair):
    write_pair(tmp_path, "0", GREY, HALF)
    assert cv2.imwrite(str(tmp_path / "image/0.bmp"), GREY)
    with pytest.raises(DataError, match=r"0\.png: 0\.bmp has the same name"):
        load_samples(tmp_path)


def test_an_image_called_like_a_page_of_a_stack_is_a_problem(tmp_path: Path, write_pair):
    write_pair(tmp_path, "v[1]", GREY, HALF)
    for part, page in (("image", GREY), ("label", HALF)):
        assert cv2.imwritemulti(str(tmp_path / part / "v.tif"), [page, page])
    with pytest.raises(DataError, match=r"v\[1\]: 2 images have this name"):
        load_samples(tmp_path)


def test_accents_pair_however_they_are_encoded(tmp_path: Path, write_pair):
    composed, apart = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    write_pair(tmp_path, composed, GREY, HALF)
    (tmp_path / "image" / f"{composed}.png").rename(tmp_path / "image" / f"{apart}.png")
    assert [sample.name for sample in load_samples(tmp_path)] == [composed]


def test_a_file_name_that_is_not_text_is_an_error(tmp_path, write_pair):
    write_pair(tmp_path, "0", GREY, HALF)
    for part in ("image", "label"):
        (tmp_path / part / "0.png").rename(tmp_path / part / os.fsdecode(b"caf\xe9.png"))
    with pytest.raises(DataError, match=r"image/caf\\udce9\.png'?: its name is not in UTF-8") as caught:
        load_samples(tmp_path)
    assert str(caught.value).encode()


def test_both_files_of_a_pair_are_looked_at(tmp_path, write_pair):
    for stem in ("0", "1"):
        write_pair(tmp_path, stem, GREY, np.arange(8, dtype=np.uint8).reshape(4, 2))
    for part in ("image", "label"):
        (tmp_path / part / "0.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_samples(tmp_path)
    message = str(caught.value)
    for part in ("image/0.png: The file is empty", "label/0.png: The file is empty", "image/1.png: 8 x 8 pixels"):
        assert part in message
    assert "label/1.png: a label with the values 0, 1, 2" in message
    assert "--label-format instances" in message


def _tiff_of_300_channels() -> bytes:
    """A TIFF of more samples a pixel than are accepted, its header written by hand."""
    entries = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 122, 277: 300, 278: 8, 279: 19200}
    directory = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4) + bytes(19200)


@pytest.mark.parametrize("part", ["image", "label"])
def test_files_that_are_not_images_are_named_in_one_message(tmp_path, write_pair, part):
    for stem in ("good", "folder", "text", "nothing", "cut"):
        write_pair(tmp_path, stem, GREY, HALF)
    write_pair(tmp_path, "channels", GREY, HALF)
    folder = tmp_path / part
    (folder / "channels.png").unlink()
    (folder / "channels.tif").write_bytes(_tiff_of_300_channels())
    (folder / "folder.png").unlink()
    (folder / "folder.png").mkdir()
    (folder / "text.png").write_text("no image")
    (folder / "nothing.png").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:50])
    with pytest.raises(DataError) as caught:
        load_samples(tmp_path)
    message = str(caught.value)
    assert message.startswith("5 problems")
    for name, said in (
        ("channels.tif", "TIFF files of 300 samples a pixel are not accepted"),
        ("folder.png", "Is a directory"),
        ("text.png", "The file is not an image"),
        ("nothing.png", "The file is empty"),
        ("cut.png", "The PNG file is broken or truncated"),
    ):
        (line,) = [line for line in message.splitlines() if f"{folder / name}: " in line]
        assert said in line


def test_empty_folders_are_answered_with_the_layout(tmp_path):
    for part in ("image", "label"):
        (tmp_path / part).mkdir()
    with pytest.raises(DataError, match=r"no images in (.|\n)*DIR/image/0\.png"):
        load_samples(tmp_path)


def test_the_page_at_fault_is_named(tmp_path):
    for part, last in (("image", GREY), ("label", GREY)):
        (tmp_path / part).mkdir()
        assert cv2.imwritemulti(str(tmp_path / part / "volume.tif"), [HALF, last])
    with pytest.raises(DataError, match=r"label/volume\.tif\[1\]: a label with the values 0, 1, 2"):
        load_samples(tmp_path)


def test_stacks_of_different_length_do_not_pair(tmp_path):
    for part, pages in (("image", 3), ("label", 2)):
        (tmp_path / part).mkdir()
        assert cv2.imwritemulti(str(tmp_path / part / "volume.tif"), [HALF] * pages)
    with pytest.raises(DataError, match=r"volume\.tif: 3 page\(s\), its label volume\.tif has 2"):
        load_samples(tmp_path)


def test_inverted_labels_are_turned_round(tmp_path, write_pair):
    write_pair(tmp_path, "0", GREY, HALF)
    (sample,) = load_samples(tmp_path, LabelScheme("inverted"))
    assert (sample.label == (HALF == 0)).all()
    assert sample.label_file == "0.png"


def test_instances_of_a_16_bit_stack_become_objects_with_borders(tmp_path):
    ids = np.repeat(np.array([[300] * 4 + [7] * 4], np.uint16), 8, axis=0)
    for part, page in (("image", GREY), ("label", ids)):
        (tmp_path / part).mkdir()
        assert cv2.imwritemulti(str(tmp_path / part / "volume.tif"), [page, page])
    for sample in load_samples(tmp_path, LabelScheme("instances")):
        assert sample.label[0].tolist() == [True] * 3 + [False] * 2 + [True] * 3


@pytest.mark.parametrize(("value", "side"), [(0, "foreground"), (255, "background")])
def test_labels_of_only_foreground_or_background_are_refused(tmp_path, write_pair, value, side):
    for stem in ("0", "1"):
        write_pair(tmp_path, stem, GREY, np.full((8, 8), value, np.uint8))
    with pytest.raises(DataError, match=f"no label in .*label has any {side}"):
        load_samples(tmp_path)


def test_the_command_names_everything_wrong_and_starts_nothing(tmp_path, write_pair, capsys):
    for stem in ("0", "1", "2", "3"):
        write_pair(tmp_path, stem, GREY, HALF)
    (tmp_path / "image/0.png").write_bytes(b"")
    (tmp_path / "label/1.png").unlink()
    write_pair(tmp_path, "2", GREY, HALF[:4])
    assert run.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("training: 3 problems")
    assert all(f"image/{stem}.png: " in message for stem in "012")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_found_before_anything_else(tmp_path, write_pair, capsys):
    ids = np.repeat(np.array([[300] * 4 + [7] * 4], np.uint16), 8, axis=0)
    write_pair(tmp_path, "0", GREY, ids)
    options = ["--label-format", "instances", "--device", "cpu", "--workers", "0", "--width", "4"]
    # one image cannot be split: the training stops before it starts
    assert run.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), *options]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("images: 1 file, 8 x 8, 8 bits, grey\nlabels: 1 file; instance ids (16 bits), 2 objects")
    assert "too few" in said.err


def test_labels_of_several_classes_are_checked_all_at_once(tmp_path, write_pair):
    for stem, highest in (("0", 2), ("1", 3), ("2", 9)):
        write_pair(tmp_path, stem, GREY, np.minimum(GREY, highest).astype(np.uint8))
    with pytest.raises(DataError) as caught:
        load_samples(tmp_path, LabelScheme(classes=3))
    assert "2 problems" in str(caught.value)
    assert "1.png: a label with the values 0, 1, 2, 3; 0 to 2 are expected" in str(caught.value)
    assert "2.png: a label with the values 0, 1, 2, 3, 4, 5, ...;" in str(caught.value)


def test_labels_of_only_one_class_are_refused(tmp_path, write_pair):
    for stem in "01":
        write_pair(tmp_path, stem, GREY, np.full((8, 8), 2, np.uint8))
    with pytest.raises(DataError, match="no class but 2; pixels of others are expected"):
        load_samples(tmp_path, LabelScheme(classes=3))


def test_floats_of_0_and_1_are_read_as_those_with_fractions(tmp_path, write_pair):
    soft = cv2.GaussianBlur(np.pad(np.ones((30, 30), np.float32), 9), (0, 0), 1.5)
    whole = (soft > 0.5).astype(np.float32)
    for stem, label in (("soft", soft), ("other", soft.T.copy()), ("whole", whole)):
        write_pair(tmp_path, stem, np.zeros((48, 48), np.uint8), np.zeros((48, 48), np.uint8))
        (tmp_path / f"label/{stem}.png").unlink()
        np.save(tmp_path / f"label/{stem}.npy", label)
    for sample in load_samples(tmp_path):
        assert (sample.foreground == (whole == 1)).all()
