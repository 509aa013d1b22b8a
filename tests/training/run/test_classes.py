"""Trainings of several classes, from the command line to the weights."""

import csv
import json
import re
import signal
from typing import cast

import numpy as np
import pytest
import torch

from model.images.encoding import encode_png
from model.inputs.preprocessing import Pixels
from model.weights_file import load_weights
from training import evaluate
from training.data.folder import load_samples
from training.data.labels.label_scheme import LabelScheme
from training.loop.batches import Batch
from training.loop.trainer import Trainer
from training.report import html_report as report
from training.run import command as run

pytestmark = pytest.mark.usefixtures("no_report")

SHORT = ["--width", "4", "--steps", "4", "--batch", "2", "--workers", "0", "--crop", "32"]
THREE = ["--classes", "3"]


def test_weights_say_what_their_classes_are(trained_classes):
    description = load_weights(trained_classes / "weights.safetensors").description
    assert description.architecture.classes == 3
    assert description.labels == {0: "background", 1: "cell", 2: "nucleus"}
    assert description.objects == "regions"
    recipe = json.loads((trained_classes / "config.json").read_text())["recipe"]
    assert recipe["loss"] == "cross_entropy_dice"


def test_the_history_has_each_classs_scores(trained_classes):
    with (trained_classes / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert {"mean_dice", "pixel_error", *(f"{score}_{k}" for score in ("dice", "iou") for k in range(3))} <= row.keys()
    assert "v_rand" not in row
    mean = (float(row["dice_1"]) + float(row["dice_2"])) / 2
    assert float(row["mean_dice"]) == pytest.approx(mean, abs=1e-5)
    scores = load_weights(trained_classes / "weights.safetensors").description.provenance["reached"]
    assert isinstance(scores, dict)
    assert scores["objective"] == "mean_dice"
    assert scores["score"] == pytest.approx(mean, abs=1e-5)
    others = ("step", "loss", "learning_rate", "seconds", "waiting")
    expected = {name: float(value) for name, value in row.items() if name not in others and value != "nan"}
    assert scores["scores"] == pytest.approx(expected, abs=1e-5)


def test_a_stopped_training_ends_with_the_weights_of_one_that_was_not(classes_folder, tmp_path, monkeypatch):
    options = ["--data", str(classes_folder), *SHORT, *THREE]
    assert run.main([*options, "--out", str(tmp_path / "whole")]) == 0
    train_step = Trainer._train_step

    def stop_after_two(trainer: Trainer, batch: Batch) -> None:
        train_step(trainer, batch)
        if trainer.step == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stop_after_two)
        assert run.main([*options, "--out", str(tmp_path / "stopped")]) == 130
    assert run.main([*options, "--out", str(tmp_path / "stopped"), "--resume"]) == 0
    first, second = (load_weights(tmp_path / out / "weights.safetensors") for out in ("whole", "stopped"))
    assert first.sha256 == second.sha256


def test_the_tutorial_recipe_uses_cross_entropy_for_classes(classes_folder, tmp_path, capsys):
    options = ["--recipe", "tutorial", "--width", "4", "--steps", "2", "--workers", "0", *THREE]
    assert run.main(["--data", str(classes_folder), "--out", str(tmp_path), *options]) == 0
    assert json.loads((tmp_path / "config.json").read_text())["recipe"]["loss"] == "cross_entropy"
    assert load_weights(tmp_path / "weights.safetensors").description.architecture.classes == 3
    assert "threshold" not in capsys.readouterr().out


def test_classes_by_colour_train_as_their_indices_do(classes_folder, trained_classes, tmp_path, capsys):
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], np.uint8)
    for part in ("image", "label"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for sample in load_samples(classes_folder, LabelScheme(classes=3)):
        (tmp_path / f"data/image/{sample.name}.png").write_bytes(encode_png(cast(Pixels, sample.pixels)))
        (tmp_path / f"data/label/{sample.name}.png").write_bytes(encode_png(colours[sample.label]))
    options = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *SHORT, "--val-fraction", "0.4"]
    assert run.main([*options, "--colours", "black", "#ff0000", "#00ff00"]) == 0
    assert "3 classes by colour: background" in capsys.readouterr().out
    by_index, by_colour = (load_weights(out / "weights.safetensors") for out in (trained_classes, tmp_path / "out"))
    assert all(torch.equal(by_index.tensors[name], by_colour.tensors[name]) for name in by_index.tensors)
    assert report.main(["--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]) == 0


def test_training_starts_from_weights_with_the_same_classes(trained_classes, classes_folder, tmp_path):
    init = ["--init", str(trained_classes / "weights.safetensors")]
    options = ["--data", str(classes_folder), "--steps", "2", "--batch", "2", "--crop", "32", "--workers", "0"]
    assert run.main([*options, "--out", str(tmp_path / "out"), *init, *THREE]) == 0
    after = load_weights(tmp_path / "out/weights.safetensors").description
    assert after.labels == {0: "background", 1: "cell", 2: "nucleus"}


def test_classes_are_found_without_options(classes_folder, tmp_path, capsys):
    options = ["--data", str(classes_folder), "--out", str(tmp_path / "out"), *SHORT, "--labels", "sky", "sea", "land"]
    assert run.main(options) == 0
    assert "3 classes: sky" in capsys.readouterr().out
    weights = tmp_path / "out/weights.safetensors"
    description = load_weights(weights).description
    assert (description.architecture.classes, description.labels) == (3, {0: "sky", 1: "sea", 2: "land"})
    assert json.loads((tmp_path / "out/config.json").read_text())["label_scheme"]["classes"] == 3
    assert report.main(["--out", str(tmp_path / "out")]) == 0
    assert evaluate.main(["--weights", str(weights), "--data", str(classes_folder), "--json"]) == 0


def test_names_that_do_not_fit_the_found_classes_are_refused(classes_folder, tmp_path, capsys):
    options = ["--data", str(classes_folder), "--out", str(tmp_path / "out"), "--labels", "a", "b"]
    assert run.main(options) == 2
    assert "--labels: 2 names; one each for 0, 1, 2" in capsys.readouterr().err


def test_labels_of_another_number_of_classes_are_not_scored(classes_folder, capsys):
    assert evaluate.main(["--data", str(classes_folder)]) == 2
    assert "3 class(es), the weights 1; --label-format" in capsys.readouterr().err


def test_scattered_values_and_an_ignored_one_train(classes_folder, tmp_path, capsys):
    values = np.array([0, 7, 38], np.uint8)
    for sample in load_samples(classes_folder):
        label = values[sample.label]
        label[:5] = 99
        for part, grid in (("image", sample.pixels), ("label", label)):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / part / f"{sample.name}.png").write_bytes(encode_png(cast(Pixels, grid)))
    options = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *SHORT, "--val-fraction", "0"]
    assert run.main([*options, "--ignore", "99"]) == 0
    assert re.search(r"class 1 = 7 .*, class 2 = 38 .*; 7\.8% ignored \(99\)", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--classes", "0"], "argument --classes: must be more than 0"),
        (["--classes", "300"], "300 classes; 1 to 255"),
        (["--classes", "3", "--colours", "red", "lime"], "2 different colours for 3 classes"),
        (["--colours", "red", "reddish"], "argument --colours: invalid colour value: 'reddish'"),
        (["--classes", "3", "--label-format", "instances"], "instances is for one class"),
        (["--classes", "3", "--labels", "a", "b"], "2 names; one each for 0, 1, 2"),
        (["--label-format", "mask", "--labels", "a", "b", "c"], "3 names; one each for 0, 255"),
        (["--values", "0", "7", "--ignore", "7"], "--ignore 7 names a value that --values makes a class"),
        (["--values", "0", "7", "9", "--classes", "2"], "3 different values for 2 classes"),
        (["--classes", "3", "--threshold-labels"], "--threshold-labels is for masks"),
        (["--classes", "3", "--objects", "interiors"], "--objects interiors is for one class"),
    ],
)
def test_options_that_do_not_go_together_are_refused(capsys, options, said):
    with pytest.raises(SystemExit) as stopped:
        run.main(options)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--classes", "2"], "0.png: a label with the values 0, 1, 2; 0 to 1 are expected"),
        ([*THREE, "--threshold", "0.7", "--val-fraction", "0"], "--threshold is for one class"),
    ],
)
def test_untrainable_classes_are_refused_with_exit_code_2(classes_folder, tmp_path, capsys, options, said):
    assert run.main(["--data", str(classes_folder), "--out", str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
