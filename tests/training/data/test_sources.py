"""Several folders that are trained on together: base data, and corrections of some of its images."""

import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import SHORT, WritePair
from tests.training.data.test_saved_labels import MASK, image_of, save
from training import evaluate
from training.data.folder import Sample, load_data
from training.data.holdout import hold_out, hold_out_folder, make_folds
from training.data.image_cache import ImageCache
from training.data.inspection import inspect
from training.data_error import DataError
from training.report import html_report as report
from training.run import command as run


@pytest.fixture
def base(tmp_path: Path, write_pair: WritePair) -> Path:
    """Eight images, 1 background and 2 foreground in the labels."""
    for seed in range(8):
        write_pair(tmp_path / "base", str(seed), image_of(seed), 1 + MASK // 255)
    return tmp_path / "base"


@pytest.fixture
def corrections(tmp_path: Path) -> Path:
    """New labels of the first two of these images."""
    save(tmp_path / "corrections", np.rot90(MASK).copy(), np.rot90(MASK).copy())
    return tmp_path / "corrections"


def test_the_label_of_the_last_folder_replaces_those_of_the_others(base, corrections):
    data = load_data([base, corrections])
    assert [sample.name for sample in data.samples[:6]] == [f"base/{seed}" for seed in range(2, 8)]
    assert [sample.source for sample in data.samples[6:]] == ["corrections"] * 2
    assert all((sample.foreground == (np.rot90(MASK) == 255)).all() for sample in data.samples[6:])
    assert all((sample.foreground == (MASK == 255)).all() for sample in data.samples[:6])
    assert data.notes == ("2 image(s) are in several folders; the labels of the last of these folders are used",)
    assert data.scheme.values == (1, 2)
    other = load_data([corrections, base]).samples
    assert Counter(sample.source for sample in other) == {"base": 8}


def test_samples_on_the_disk_keep_their_source(base, corrections, tmp_path):
    data = load_data([base, corrections], store=ImageCache(tmp_path, 0))
    assert Counter(sample.source for sample in data.samples) == {"base": 6, "corrections": 2}
    assert data.samples[-1].name_in_source in data.samples[-1].name


def test_lines_about_the_labels_name_their_folder(base, corrections):
    lines = inspect(load_data([base, corrections]).samples)
    assert lines[0].startswith("base: images: 6 files")
    assert any(line.startswith("corrections: labels: 2 files; foreground = values above 0") for line in lines)


def test_saved_labels_of_a_net_of_other_classes_are_refused(base, tmp_path):
    save(tmp_path / "saved", MASK // 255, classes=3)
    with pytest.raises(DataError, match=r"saved have 3 class\(es\), those of the other folders 1"):
        load_data([base, tmp_path / "saved"])


def test_instances_of_the_base_keep_saved_instances(tmp_path, write_pair):
    label = np.zeros((16, 16), np.uint8)
    for number in range(1, 5):
        label[:, 4 * number - 4 : 4 * number - 1] = number
    for seed in range(2, 5):
        write_pair(tmp_path / "base", str(seed), image_of(seed), np.where(label < seed + 1, label, 0).astype(np.uint8))
    save(tmp_path / "saved", label[::-1].copy(), label[:, ::-1].copy())
    data = load_data([tmp_path / "base", tmp_path / "saved"])
    ids = [sample.ids for sample in data.samples if sample.ids is not None]
    assert len(ids) == 5
    assert [each.max() for each in ids[-2:]] == [4, 4]


def test_folders_of_one_name_are_told_apart(tmp_path, write_pair):
    for number, parent in enumerate(("a", "b", "c")):
        write_pair(tmp_path / parent / "train", "0", image_of(number), MASK)
    data = load_data([tmp_path / parent / "train" for parent in ("a", "b", "c")])
    assert [sample.name for sample in data.samples] == ["train/0", "train-2/0", "train-3/0"]


def test_a_folder_given_twice_is_refused(base):
    with pytest.raises(DataError, match="base is given twice"):
        load_data([base, base.parent / "." / "base"])


def _samples(source: str, names: list[str]) -> list[Sample]:
    label = MASK // 255
    return [Sample(f"{source}/{name}", image_of(place), label, source=source) for place, name in enumerate(names)]


def test_each_folder_holds_out_its_own_share():
    samples = _samples("base", [str(number) for number in range(20)]) + _samples("new", list("qwertzuiop"))
    split = hold_out(samples, 0.2)
    assert Counter(sample.source for sample in split.validation) == {"base": 4, "new": 2}
    assert [sample.name for sample in split.validation[:4]] == [f"base/{number}" for number in range(16, 20)]
    assert split.said.startswith("held out of each folder: base: 4 of 20 images, the end of the series; new: 2 of 10")


def test_all_images_of_a_tiny_folder_are_trained_on():
    split = hold_out(_samples("base", [str(number) for number in range(10)]) + _samples("new", ["x"]), 0.2)
    assert Counter(sample.source for sample in split.training) == {"base": 8, "new": 1}
    with pytest.raises(DataError, match="too few images in each folder"):
        hold_out(_samples("base", ["1"]) + _samples("new", ["x"]), 0.2)


def test_group_counts_in_the_folders_that_it_fits():
    grouped = [f"p{patient}_{number}" for patient in range(5) for number in range(4)]
    samples = _samples("base", grouped) + _samples("new", list("qwertzuiop"))
    split = hold_out(samples, 0.2, r"p(\d)")
    assert [name.split("/")[0] for name in split.groups] == ["base"]
    with pytest.raises(DataError, match="no match in the image name"):
        hold_out(samples, 0.2, r"slide(\d)")


def test_folds_mix_all_folders():
    grouped = [f"{patient}{patient}_{number}" for patient in "abcde" for number in range(4)]
    samples = _samples("base", grouped) + _samples("new", list("qwertzuiop"))
    folds = make_folds(samples, 3)
    assert sorted(sample.name for fold in folds for sample in fold.validation) == sorted(s.name for s in samples)
    for fold in folds:
        sides = [{s.name[:7] for s in part if s.source == "base"} for part in (fold.training, fold.validation)]
        assert not sides[0] & sides[1]
    with pytest.raises(DataError, match="--folds 4: there are only 2 groups and images"):
        make_folds(_samples("base", ["x"]) + _samples("new", ["y"]), 4)


def test_a_corrected_image_cannot_be_held_out_beside_its_copy(base, corrections):
    trained, held = load_data(base).samples, load_data(corrections).samples
    with pytest.raises(DataError, match="images that are also in --data"):
        hold_out_folder(trained, held, corrections)


@pytest.mark.usefixtures("no_report")
def test_a_training_on_base_and_corrections_is_resumed_and_reported(cells_folder, tmp_path, capsys):
    save(tmp_path / "new", MASK, MASK)
    out, data = tmp_path / "out", [str(cells_folder), str(tmp_path / "new")]
    assert run.main(["--data", *data, "--out", str(out), *SHORT, "--crop", "16"]) == 0
    assert "held out of each folder: cells: 1 of 6 images" in capsys.readouterr().out
    weights = (out / "weights.safetensors").read_bytes()
    assert run.main(["--resume", "--out", str(out)]) == 0
    assert (out / "weights.safetensors").read_bytes() == weights
    assert report.main(["--out", str(out)]) == 0
    assert evaluate.main(["--weights", str(out / "weights.safetensors"), "--data", *data, "--engine", "torch"]) == 0


def test_a_folder_and_a_zip_are_trained_on_together(cells_folder, tmp_path):
    save(tmp_path / "new", MASK, MASK)
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as packed:
        for file in (tmp_path / "new").rglob("*.*"):
            packed.write(file, str(file.relative_to(tmp_path)))
    samples = load_data([cells_folder, tmp_path / "new.zip"]).samples
    assert Counter(sample.source for sample in samples) == {"cells": 6, "new": 2}
