"""Which images are held out: groups stay whole, classes are on both sides, series are cut between scenes."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.images.decoding import decode_image
from model.images.encoding import encode_png
from training.data.folder import Sample, load_samples
from training.data.holdout import HoldOut, hold_out, hold_out_folder, make_folds, split_samples, suggested_folds
from training.data_error import DataError
from training.loop.run_folder import RunFolder
from training.report import html_report as report
from training.run import command as run

pytestmark = pytest.mark.usefixtures("no_report")

SHORT = ["--width", "4", "--steps", "4", "--batch", "2", "--workers", "0", "--crop", "32"]


def sample(name: str, scene: int = 0, classes: tuple[int, ...] = (0, 1), noise: int = 0) -> Sample:
    """32 x 32 pixels: a coarse pattern drawn from `scene`, with noise on top; stripes of the classes as label."""
    coarse = np.random.default_rng(scene).integers(20, 200, (4, 4))
    pixels = np.kron(coarse, np.ones((8, 8))) + np.random.default_rng(noise).integers(0, 20, (32, 32))
    label = np.array(classes, np.uint8)[np.arange(32) * len(classes) // 32]
    return Sample(name, pixels.astype(np.uint8), np.broadcast_to(label, (32, 32)).copy())


def series(count: int) -> list[Sample]:
    return [sample(str(index), noise=index) for index in range(count)]


def names(samples: list[Sample]) -> list[str]:
    return [each.name for each in samples]


def sequences(*lengths: int) -> list[Sample]:
    """Sequences a, b, ... of images "a_0", "a_1" ..."""
    return [
        sample(f"{'abcdefghijklmnopqrst'[number]}{number}_{index}", scene=number, noise=index)
        for number, length in enumerate(lengths)
        for index in range(length)
    ]


def assert_whole(split: HoldOut) -> None:
    """No sequence of `sequences` has images on both sides."""
    sides = [{name.split("_")[0] for name in names(part)} for part in (split.training, split.validation)]
    assert not sides[0] & sides[1]


def test_end_of_a_series_is_held_out_in_one_piece():
    split = hold_out(series(10), 0.2)
    assert (split.rule, names(split.validation)) == ("series", ["8", "9"])
    assert split.said == "held out: 2 of 10 images, the end of the series"
    assert [names(part) for part in split_samples(series(10), 0.2)] == [list("01234567"), ["8", "9"]]


def test_nothing_is_held_out_for_a_fraction_of_0():
    assert hold_out(series(3), 0.0).validation == split_samples(series(3), 0.0)[1] == []
    with pytest.raises(DataError, match="--group has no effect if no images are held out"):
        hold_out(series(3), 0.0, "(.)")


@pytest.mark.parametrize("split", [hold_out, split_samples])
def test_a_single_image_cannot_be_split(split):
    with pytest.raises(DataError, match=r"--val-fraction 0.2: too few images \(1\)"):
        split(series(1), 0.2)


def test_series_of_scenes_is_cut_between_two_scenes():
    samples = [sample(str(index), scene=index // 9, noise=index) for index in range(36)]
    split = hold_out(samples, 0.2)
    assert names(split.validation) == [str(index) for index in range(27, 36)]
    assert split.said == "held out: 9 of 36 images, the end of the series, cut where the images change most"


def test_block_of_a_series_is_chosen_so_that_no_class_is_missing():
    samples = series(20)
    for index in (2, 6, 10):
        samples[index] = sample(str(index), classes=(0, 1, 2), noise=index)
    split = hold_out(samples, 0.2)
    assert "10" in names(split.validation)
    assert "2" in names(split.training)
    assert names(split.validation) == [str(int(split.validation[0].name) + offset) for offset in range(4)]
    assert "because its end lacks a class" in split.said


def test_whole_sequences_near_the_fraction_are_held_out():
    split = hold_out(sequences(21, 34, 68), 0.2)
    assert (split.rule, split.groups) == ("groups", {"a0": 21})
    assert split.said == "held out: 21 of 123 images, by sequence, found from the names: a0 (21)"


def test_whole_sequences_are_held_out():
    samples = sequences(*range(5, 25))
    split = hold_out(samples, 0.2)
    assert_whole(split)
    assert 0.15 < len(split.validation) / len(samples) < 0.25
    assert names(hold_out(samples, 0.2).validation) == names(split.validation), "the choice is deterministic"
    assert split.said.endswith(" more") or split.said.count("(") == len(split.groups)


def test_ends_of_sequences_are_held_out_if_whole_ones_are_too_many():
    split = hold_out(sequences(10, 10), 0.2)
    assert (split.rule, split.groups) == ("ends", {"a0": 2, "b1": 2})
    assert names(split.validation) == ["a0_8", "a0_9", "b1_8", "b1_9"]


def test_groups_of_the_option_are_never_split():
    split = hold_out(sequences(10, 10), 0.2, r"(\w)\d_")
    assert_whole(split)
    assert len(split.validation) == 10


def test_class_in_two_sequences_is_on_both_sides():
    samples = [
        sample(f"s{chr(97 + number)}_{index}", classes=(0, 1, 2) if number in (3, 7) else (0, 1), noise=index)
        for number in range(10)
        for index in range(4)
    ]
    split = hold_out(samples, 0.2)
    assert_whole(split)
    assert all(any((each.label == 2).any() for each in part) for part in (split.training, split.validation))


def test_names_without_order_get_a_stratified_random_choice():
    """A quarter of the images is bright, and those come first by name."""
    rng = np.random.default_rng(0)
    stems = sorted("".join(rng.choice(list("abcdef0123456789"), 12)) for _ in range(40))
    samples = [
        Sample(stem, np.full((32, 32), 220 if number < 10 else 30, np.uint8), sample("x").label)
        for number, stem in enumerate(stems)
    ]
    split = hold_out(samples, 0.2)
    assert (split.rule, len(split.validation)) == ("random", 8)
    assert sum(each.pixels.mean() > 100 for each in split.validation) == 2


def test_folds_hold_out_every_image_once():
    for samples in (series(11), sequences(3, 5, 4, 6, 2, 7)):
        splits = make_folds(samples, 3)
        assert sorted(name for split in splits for name in names(split.validation)) == sorted(names(samples))
        for split in splits:
            assert sorted(names(split.training + split.validation)) == sorted(names(samples))
            assert len(split.validation) >= 3


def test_folds_keep_groups_whole_and_series_contiguous():
    for split in make_folds(sequences(3, 5, 4, 6, 2, 7), 3):
        assert_whole(split)
    for split in make_folds(series(12), 4):
        numbers = [int(name) for name in names(split.validation)]
        assert numbers == list(range(numbers[0], numbers[0] + 3))


def test_more_folds_than_groups_are_refused():
    with pytest.raises(DataError, match=r"--folds 4: there are only 2 groups \(a0, b1\); at most --folds 2"):
        make_folds(sequences(5, 5), 4)
    with pytest.raises(DataError, match="--folds 2: there are only 1 images; --folds needs at least 2"):
        make_folds(series(1), 2)


def test_folds_are_suggested_for_small_sets_only():
    assert "--folds 5 scores all 10 images" in suggested_folds(hold_out(series(10), 0.2))
    assert "--folds 2 scores" in suggested_folds(hold_out(sequences(8, 8), 0.2))
    assert suggested_folds(hold_out(series(30), 0.2)) == ""
    assert suggested_folds(hold_out(series(10), 0.0)) == ""


def test_image_in_both_folders_is_refused():
    samples = series(4)
    with pytest.raises(DataError, match="--val other: images that are also in --data: copy"):
        hold_out_folder(samples, [Sample("copy", samples[2].pixels, samples[2].label)], Path("other"))


@pytest.fixture
def two_folders(tmp_path: Path, write_pair) -> tuple[Path, Path]:
    """Folders with 4 images to train on and 2 to hold out, of other sizes."""
    rng = np.random.default_rng(0)
    for folder, count, side in (("train", 4, 48), ("held", 2, 40)):
        for index in range(count):
            label = np.zeros((side, side), np.uint8)
            label[8:24, 8:30] = 255
            write_pair(tmp_path / folder, str(index), rng.integers(0, 99, (side, side), np.uint8) + label // 4, label)
    return tmp_path / "train", tmp_path / "held"


def test_validation_folder_is_held_out_and_found_again_by_the_report(two_folders, tmp_path, capsys):
    data, held = two_folders
    out = tmp_path / "out"
    assert run.main(["--data", str(data), "--out", str(out), *SHORT, "--val", str(held)]) == 0
    assert f"held out: 2 images of --val {held}" in capsys.readouterr().out
    config = RunFolder(out).read_config()
    assert config["training_images"] == ["0", "1", "2", "3"]
    assert config["holdout"]["names"] == config["validation_images"] == ["0", "1"]
    assert config["holdout"]["folder"] == str(held)
    assert report.main(["--out", str(out)]) == 0
    assert "on 2 held-out images" in (out / "report.html").read_text()
    assert run.main(["--out", str(out), "--resume"]) == 0


def test_rule_groups_and_names_are_stored(cells_folder, tmp_path, capsys):
    options = ["--data", str(cells_folder), "--out", str(tmp_path), *SHORT, "--group", "[02468]|[13579]"]
    assert run.main(options) == 0
    held = json.loads((tmp_path / "config.json").read_text())["holdout"]
    assert held["rule"] == "groups"
    assert held["said"] in capsys.readouterr().out
    assert len(held["names"]) == sum(held["groups"].values()) == 1
    assert [each.name for each in load_samples(cells_folder) if each.name in held["names"]] == held["names"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--group", "("], "'(' is not a regular expression"),
        (["--val", "x", "--group", "x"], "--val does not go with --group"),
        (["--val", "x", "--val-fraction", "0.3"], "--val does not go with --val-fraction"),
        (["--val", "x", "--folds", "3"], "--val does not go with --folds"),
        (["--folds", "1"], "--folds 1: at least 2 folds are needed"),
        (["--folds", "3", "--patience", "2"], "--folds does not go with --patience"),
        (["--folds", "3", "--threshold", "0.5"], "--folds does not go with --threshold"),
    ],
)
def test_options_that_would_be_ignored_are_refused(capsys, options, said):
    with pytest.raises(SystemExit) as stopped:
        run.main(options)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--group", "x"], "--group x: no match in the image name '0'"),
        (["--val", "nowhere"], "no folder nowhere"),
        (["--folds", "7"], "--folds 7: there are only 6 images"),
    ],
)
def test_hold_outs_that_cannot_work_name_the_option(cells_folder, tmp_path, capsys, options, said):
    assert run.main(["--data", str(cells_folder), "--out", str(tmp_path / "x"), *SHORT, *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_copies_of_held_out_images_are_not_trained_on():
    samples = series(10)
    copy = Sample("copy", samples[9].pixels.copy(), samples[9].label)
    split = hold_out([copy, *samples], 0.2)
    assert (names(split.validation), names(split.training)) == (["8", "9"], list("01234567"))
    assert split.said.endswith("; copies left out: copy")
    for fold in make_folds([copy, *samples], 3):
        seen = {each.pixels.tobytes() for each in fold.training}
        assert not seen & {each.pixels.tobytes() for each in fold.validation}


def test_copies_of_one_image_are_trained_on_for_want_of_others():
    first = sample("0")
    split = hold_out([first, Sample("1", first.pixels, first.label)], 0.5)
    assert (names(split.training), names(split.validation)) == (["0"], ["1"])
    assert split.said.endswith("; copies trained on, for want of others: 0")


def test_masks_of_a_validation_folder_may_have_values_of_their_own(two_folders, tmp_path):
    data, held = two_folders
    for path in (held / "label").iterdir():
        path.write_bytes(encode_png(1 + (decode_image(path.read_bytes()) > 0).astype(np.uint8)))
    for number, masks in enumerate((data, held)):
        val = held if masks == data else data
        out = tmp_path / str(number)
        assert run.main(["--data", str(masks), "--out", str(out), *SHORT, "--val", str(val)]) == 0
        assert report.main(["--out", str(out)]) == 0
    first, second = (RunFolder(tmp_path / name).read_config() for name in "01")
    assert first["images"] == {"training": 4, "validation": 2}
    assert second["images"] == {"training": 2, "validation": 4}
