"""The comparison of trainers on data sets: splits, parts, scores and results. No peer is installed for these tests."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.datasets.__main__ import Options, main, run_trials
from benchmarks.datasets.parts import write_parts
from benchmarks.datasets.results import Result, ResultsFile, Trial, table
from benchmarks.datasets.scoring import Found, Reachable, all_scores, object_scores, reachable
from benchmarks.datasets.sets import SetError, find_sets, polyp_sequences, split, street_drive
from benchmarks.datasets.trainers import Order, Ours, Trained, TrainerFailed
from benchmarks.datasets.truth import Task, Truth, read_truths, task_of
from model.images.decoding import decode_image
from model.images.encoding import encode_png
from tests.support.forked import Forked
from training.data.folder import IGNORED

MASK, INSTANCES, CLASSES = Task("mask", 2), Task("instances", 2), Task("classes", 4)
SIDE = 32
SMALL = ("--width", "4", "--batch", "2", "--crop", "32", "--workers", "0")


def write_set(folder: Path, names: Sequence[str], label: NDArray[np.uint8] | NDArray[np.uint16]) -> Path:
    """A set of RGB images of noise that all have the same label."""
    generator = np.random.default_rng(0)
    for part in ("image", "label"):
        (folder / part).mkdir(parents=True)
    for name in names:
        image = generator.integers(0, 256, (*label.shape, 3), np.uint8)
        (folder / "image" / f"{name}.png").write_bytes(encode_png(image))
        (folder / "label" / f"{name}.png").write_bytes(encode_png(label))
    return folder


def square(value: int = 255, dtype: type[np.uint8] | type[np.uint16] = np.uint8) -> NDArray[np.uint8]:
    """SIDE x SIDE, `value` in the middle and 0 around it."""
    label = np.zeros((SIDE, SIDE), dtype)
    label[8:24, 8:24] = value
    return label  # type: ignore[return-value]


@pytest.fixture
def cracks(tmp_path: Path) -> Path:
    return write_set(tmp_path / "cracks", [f"{number:03}" for number in range(24)], square())


def test_polyps_are_split_between_video_sequences():
    names = [str(frame) for frame in range(1, 467)]
    test = {int(name) for name in polyp_sequences(names)}
    assert {51, 67, 152, 177, 253, 277, 364, 383} <= test
    assert not {1, 50, 68, 151, 178, 252, 278, 363, 384, 466} & test


def test_streets_are_split_by_drive():
    assert street_drive(["0001TP_006690", "0006R0_f00960", "0016E5_00450"]) == ["0006R0_f00960"]


def test_cracks_hold_out_the_last_twenty_images(cracks: Path):
    images = split(cracks)
    assert [pair.name for pair in images.training] == ["000", "001", "002", "003"]
    assert len(images.test) == 20


def test_nuclei_hold_out_the_same_images_every_time(tmp_path: Path):
    folder = write_set(tmp_path / "nuclei", [f"{number}" for number in range(40)], square(7, np.uint16))
    assert split(folder) == split(folder)
    assert len(split(folder).test) == 32


def test_unknown_set_holds_out_its_last_fifth_in_natural_order(tmp_path: Path):
    folder = write_set(tmp_path / "cells", [str(number) for number in range(1, 11)], square())
    assert [pair.name for pair in split(folder).test] == ["9", "10"]


def test_sets_are_found_in_folders_and_by_the_name_above_train(tmp_path: Path):
    names = ["1", "2", "3"]
    write_set(tmp_path / "sets" / "b", names, square())
    write_set(tmp_path / "sets" / "a", names, square())
    membranes = write_set(tmp_path / "em" / "train", names, square())
    assert [images.name for images in find_sets([tmp_path / "sets", membranes])] == ["a", "b", "em"]


def test_folder_without_a_set_is_refused_by_name(tmp_path: Path):
    with pytest.raises(SetError, match=f"{tmp_path}: no data set"):
        find_sets([tmp_path])


def test_image_without_a_label_is_refused_by_name(cracks: Path):
    (cracks / "label" / "007.png").unlink()
    with pytest.raises(SetError, match=r"007\.png"):
        split(cracks)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (square(), MASK),
        (np.arange(SIDE**2, dtype=np.uint16).reshape(SIDE, SIDE), INSTANCES),
        (np.where(np.arange(SIDE) < 4, 2, square(3)).astype(np.uint8), CLASSES),
    ],
)
def test_labels_decide_what_is_scored(tmp_path: Path, label: NDArray[np.uint8], expected: Task):
    assert task_of(split(write_set(tmp_path / "some", ["1", "2"], label))) == expected


def test_trainers_see_the_training_part_only(cracks: Path, tmp_path: Path):
    images = split(cracks)
    parts = write_parts(tmp_path / "parts", images, MASK)
    for folder in (parts.training, parts.peer_training):
        for part in ("image", "label"):
            assert sorted(path.stem for path in (folder / part).iterdir()) == ["000", "001", "002", "003"]
    assert len(list(parts.test.iterdir())) == len(list(parts.peer_test.iterdir())) == 20


def test_peers_get_class_indices_and_rgb(cracks: Path, tmp_path: Path):
    parts = write_parts(tmp_path / "parts", split(cracks), MASK)
    label = decode_image((parts.peer_training / "label" / "000.png").read_bytes())
    image = decode_image((parts.peer_training / "image" / "000.png").read_bytes())
    assert np.array_equal(label, square(1))
    assert image.shape == (SIDE, SIDE, 3)


def test_peers_get_void_as_a_class_that_is_not_scored(tmp_path: Path):
    label = np.where(np.arange(SIDE) < 4, 11, square(3)).astype(np.uint8)
    images = split(write_set(tmp_path / "streets", ["0001TP_1", "0006R0_1"], label))
    parts = write_parts(tmp_path / "parts", images, task_of(images))
    written = decode_image((parts.peer_training / "label" / "0001TP_1.png").read_bytes())
    assert np.array_equal(written, label)
    [truth] = read_truths(images, images.test, task_of(images))
    assert truth.counted.mean() == 1 - 4 / SIDE


def test_perfect_masks_score_one():
    truth = Truth("1", square(1))
    assert all_scores(MASK, [truth], [Found(square(1))], 0.5) == {"dice": 1.0, "dice_per_image": 1.0}


def test_all_ones_and_all_zeros_score_low():
    truth = Truth("1", square(1))
    ones, zeros = Found(np.ones((SIDE, SIDE), np.uint8)), Found(np.zeros((SIDE, SIDE), np.uint8))
    assert all_scores(MASK, [truth], [ones], 0.5)["dice"] == pytest.approx(2 * 0.25 / 1.25)
    assert all_scores(MASK, [truth], [zeros], 0.5)["dice"] == 0


def test_pooled_dice_counts_pixels_and_mean_dice_images():
    empty = Truth("empty", np.zeros((SIDE, SIDE), np.uint8))
    false_alarm = np.zeros((SIDE, SIDE), np.uint8)
    false_alarm[0, 0] = 1
    scores = all_scores(MASK, [Truth("1", square(1)), empty], [Found(square(1)), Found(false_alarm)], 0.5)
    assert scores["dice"] == pytest.approx(2 * 256 / (2 * 256 + 1))
    assert scores["dice_per_image"] == 0.5


def test_void_pixels_are_not_scored():
    label = square(3)
    label[0] = IGNORED
    wrong_on_void = square(3)
    wrong_on_void[0] = 1
    scores = all_scores(CLASSES, [Truth("1", label)], [Found(wrong_on_void)], 0.5)
    assert scores == {"dice": 1.0, "dice_per_image": 1.0, "iou": 1.0}


def test_classes_are_averaged_with_class_zero_and_missed_ones():
    label = np.repeat(np.array([0, 1, 2, 2], np.uint8), 4)[None]
    found = np.repeat(np.array([0, 1, 1, 1], np.uint8), 4)[None]
    scores = all_scores(CLASSES, [Truth("1", label)], [Found(found)], 0.5)
    assert scores["dice"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert scores["iou"] == pytest.approx((1 + 1 / 3 + 0) / 3)


def objects(*rows: tuple[int, int]) -> NDArray[np.int32]:
    """1 x 40 ids: the pixels from the first to before the second number are one object."""
    ids = np.zeros((1, 40), np.int32)
    for number, (low, high) in enumerate(rows, start=1):
        ids[0, low:high] = number
    return ids


def f1_of(labelled: NDArray[np.int32], found: NDArray[np.int32]) -> dict[str, float]:
    truth = Truth("1", (labelled > 0).astype(np.uint8), labelled)
    return object_scores([truth], [Found((found > 0).astype(np.uint8), ids=found)])


def test_same_objects_in_another_order_score_one():
    labelled = objects((0, 10), (12, 20))
    swapped = np.choose(labelled, [0, 2, 1]).astype(np.int32)
    assert f1_of(labelled, swapped) == {"f1": 1.0, "mean_f1": 1.0}


def test_merged_objects_count_as_missed():
    assert f1_of(objects((0, 10), (10, 20)), objects((0, 20)))["f1"] == 0


def test_mean_f1_asks_for_closer_outlines_than_f1():
    scores = f1_of(objects((0, 10)), objects((0, 7)))
    assert scores["f1"] == 1.0
    assert scores["mean_f1"] == pytest.approx(4 / 9)  # an IoU of 0.7 is above 0.5, 0.55, 0.6 and 0.65


def test_no_objects_found_scores_zero():
    assert f1_of(objects((0, 10)), objects()) == {"f1": 0.0, "mean_f1": 0.0}


def test_reachable_finds_the_threshold_that_was_missed():
    truth = Truth("1", square(1))
    probabilities = np.where(square(1) > 0, 0.4, 0.1).astype(np.float32)
    found = [Found((probabilities >= 0.5).astype(np.uint8), probabilities)]
    scores = all_scores(MASK, [truth], found, 0.5)
    reached = reachable(MASK, [truth], found, scores)
    assert reached == Reachable("dice", best=1.0, threshold=0.15, ratio=0.0)


def test_reachable_of_membranes_is_v_rand():
    label = np.ones((SIDE, SIDE), np.uint8)
    label[:, 15:17] = 0
    probabilities = np.where(label > 0, 0.9, 0.3).astype(np.float32)
    task, found = Task("membranes", 2), [Found(label, probabilities)]
    scores = all_scores(task, [Truth("1", label)], found, 0.5)
    reached = reachable(task, [Truth("1", label)], found, scores)
    assert scores["v_rand"] > 0.95
    assert reached is not None
    assert (reached.score, reached.ratio) == ("v_rand", 1.0)


def test_several_classes_have_no_threshold_to_reach():
    assert reachable(CLASSES, [Truth("1", square(3))], [Found(square(3))], {"dice": 1.0}) is None


@dataclass
class Copying:
    """A trainer that "segments" every image with the label of a training image; counts its trainings."""

    fail: bool = False
    orders: list[Order] = field(default_factory=list)

    def train(self, order: Order) -> Trained:
        self.orders.append(order)
        if self.fail:
            raise TrainerFailed("training.run: exit code 1")
        return Trained(seconds=60.0, cpu_seconds=100.0, steps=10, kept_step=10, threshold=0.5)

    def predict(self, order: Order, names: Sequence[str]) -> list[Found]:
        label = decode_image(next((order.parts.peer_training / "label").iterdir()).read_bytes())
        return [Found(label.astype(np.uint8), label.astype(np.float32)) for _ in names]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options([], tmp_path / "r", [], [0], 1.0, ["ours"], 0, 1, tmp_path, tmp_path, None)


def test_trials_with_a_result_are_not_repeated(cracks: Path, tmp_path: Path, options: Options):
    results, trainer, sets = ResultsFile(tmp_path / "results.jsonl"), Copying(), {"cracks": split(cracks)}
    first, second = (Trial("cracks", "ours", seed, 1.0) for seed in (0, 1))
    assert run_trials([first], sets, {"ours": trainer}, results, options)
    assert run_trials([first, second], sets, {"ours": trainer}, results, options)
    assert [order.seed for order in trainer.orders] == [0, 1]
    assert [result.trial for result in results.read()] == [first, second]
    assert results.read()[0].scores["dice"] == 1.0


def test_failed_trial_leaves_no_result_and_the_others_run(
    cracks: Path, tmp_path: Path, options: Options, capsys: pytest.CaptureFixture[str]
):
    results, trainers = ResultsFile(tmp_path / "results.jsonl"), {"ours": Copying(fail=True), "monai": Copying()}
    trials = [Trial("cracks", name, 0, 1.0) for name in trainers]
    assert not run_trials(trials, {"cracks": split(cracks)}, trainers, results, options)
    assert [result.trial for result in results.read()] == trials[1:]
    assert "failed: training.run: exit code 1" in capsys.readouterr().err


def test_number_of_training_images_can_be_limited(cracks: Path, tmp_path: Path, options: Options):
    results, trial = ResultsFile(tmp_path / "results.jsonl"), Trial("cracks", "ours", 0, 1.0, images=2)
    run_trials([trial], {"cracks": split(cracks)}, {"ours": Copying()}, results, options)
    training = results.read()[0].training
    assert (training["training_images"], training["test_images"]) == (2, 20)


def _run_forked(
    command: Sequence[str], *, timeout: float | None, check: bool, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """`subprocess.run` of `python -m MODULE`, without the imports."""
    assert not check
    process = Forked(*command[2:], **options)
    return subprocess.CompletedProcess(command, process.wait(timeout))


def test_own_commands_train_and_segment_instances(tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forking = SimpleNamespace(run=_run_forked, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr("benchmarks.datasets.trainers.subprocess", forking)
    ids = square(1, np.uint16)
    ids[26:30, 4:20], ids[2:6, 4:20] = 2, 3
    folder = write_set(tmp_path / "nuclei", [f"{number}" for number in range(36)], ids)
    results, trial = ResultsFile(tmp_path / "results.jsonl"), Trial("nuclei", "ours", 3, 0.02)
    assert run_trials([trial], {"nuclei": split(folder)}, {"ours": Ours(SMALL)}, results, options)
    [found] = results.read()
    assert found.training["steps"] > 0
    assert found.training["test_images"] == 32
    assert set(found.scores) == {"dice", "dice_per_image", "f1", "mean_f1"}


def result(trial: Trial, dice: float, ratio: float = 0.9) -> Result:
    scores = {"dice": dice, "dice_per_image": dice, "f1": dice / 2, "mean_f1": dice / 4}
    return Result(trial, "instances", scores, Reachable("dice", 0.8, 0.3, ratio), {"steps": 100, "seconds": 300.0})


def test_line_cut_off_by_a_kill_is_dropped(tmp_path: Path):
    path, trial = tmp_path / "results.jsonl", Trial("nuclei", "ours", 0, 5.0)
    results = ResultsFile(path)
    results.add(result(trial, 0.7))
    with path.open("a") as file:
        file.write('{"trial": {"set"')
    assert [each.trial for each in results.read()] == [trial]
    later = replace(trial, seed=1)
    results.add(result(later, 0.7))
    assert [each.trial for each in results.read()] == [trial, later]


def test_table_gives_means_and_spreads_over_the_seeds():
    trials = [Trial("nuclei", "ours", seed, 5.0) for seed in range(2)]
    [_, _, row] = table(map(result, trials, [0.7, 0.8])).splitlines()
    assert row == (
        "| nuclei | ours | 2 | F1 at IoU 0.5 0.375 ± 0.035 | 0.750 ± 0.071 | 0.750 ± 0.071 | mean F1 0.188 ± 0.018 "
        "| Dice 0.800 ± 0.000 | 0.900 ± 0.000 | 100 | 5.0 |"
    )


def test_table_has_a_row_for_each_set_time_and_trainer():
    trial = Trial("nuclei", "ours", 0, 5.0)
    others = [replace(trial, set="cells"), replace(trial, minutes=15.0), replace(trial, trainer="monai")]
    rows = table(result(each, 0.7) for each in [trial, *others]).splitlines()[2:]
    assert [row.split(" | ")[:3] for row in rows] == [
        ["| cells", "ours", "1"],
        ["| nuclei", "monai", "1"],
        ["| nuclei", "ours", "1"],
        ["| nuclei", "ours", "1"],
    ]


def test_unknown_set_name_ends_the_command_with_2(cracks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--data", str(cracks), "--out", str(tmp_path / "r"), "--only", "roads", "--peers", "ours"]
    assert main(arguments) == 2
    assert "--only roads: no such set; there are cracks" in capsys.readouterr().err
