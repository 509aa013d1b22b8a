from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data import DataError, Sample, load_samples, split_samples

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)
HALF = np.repeat(np.array([[0], [255]], np.uint8), 4, axis=0) * np.ones((1, 8), np.uint8)


def test_pairs_come_in_natural_order(tmp_path, write_pair):
    for stem in ("10", "9", "s2", "s11"):
        write_pair(tmp_path, stem, GREY, HALF)
    assert [sample.name for sample in load_samples(tmp_path)] == ["9", "10", "s2", "s11"]


def test_a_pair_is_the_files_pixels_and_a_boolean_label(tmp_path, write_pair):
    write_pair(tmp_path, "0", GREY, HALF)
    (sample,) = load_samples(tmp_path)
    assert (sample.pixels == GREY).all()
    assert sample.label.dtype == bool
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


def test_a_missing_folder_is_answered_with_the_layout_and_a_way_to_get_data(tmp_path):
    with pytest.raises(DataError, match=r"DIR/image/0\.png(.|\n)*training\.synthetic"):
        load_samples(tmp_path / "nothing")


def _samples(count: int) -> list[Sample]:
    return [Sample(str(index), GREY, HALF > 0) for index in range(count)]


def test_the_last_samples_are_held_out_in_one_piece():
    training, validation = split_samples(_samples(10), 0.2)
    assert [sample.name for sample in validation] == ["8", "9"]
    assert len(training) == 8


def test_nothing_is_held_out_if_nothing_is_asked_for():
    assert split_samples(_samples(3), 0.0)[1] == []


def test_one_image_cannot_be_split():
    with pytest.raises(DataError, match="too few"):
        split_samples(_samples(1), 0.2)


def test_the_file_at_fault_is_named_with_its_folder(tmp_path: Path, write_pair):
    write_pair(tmp_path, "0", GREY, np.dstack([HALF, HALF[::-1], HALF]))
    with pytest.raises(DataError, match=r"label/0\.png: a label in colours"):
        load_samples(tmp_path)


def test_two_files_of_one_name_are_a_problem(tmp_path: Path, write_pair):
    write_pair(tmp_path, "0", GREY, HALF)
    assert cv2.imwrite(str(tmp_path / "image/0.bmp"), GREY)
    with pytest.raises(DataError, match=r"0\.bmp: 0\.png has the same name"):
        load_samples(tmp_path)
