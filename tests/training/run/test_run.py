"""`python -m training.run` and what it leaves behind."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model.images.encoding import encode_png
from model.segmenter import Segmenter
from model.unet import UNet
from model.weights_file import BUNDLED_INT8, load_weights
from training import synthetic
from training.data.folder import load_samples
from training.loop.batches import SampleStream
from training.recipe import TUTORIAL
from training.run import command as run
from training.run import preparation
from training.run.command_line import parse

WEIGHTS = "weights.safetensors"


SHORT = ["--width", "4", "--steps", "4", "--batch", "2", "--workers", "0"]


def test_weights_describe_themselves_and_segment(trained):
    weights = load_weights(trained / "weights.safetensors")
    description = weights.description
    assert description.name == "cells"
    assert description.unet.width == 4
    assert description.preprocessing.normalisation == "zscore"
    assert description.provenance["images"] == {"training": 5, "validation": 1}
    assert description.card is None
    assert description.example
    assert description.known_images
    assert {len(column) for column in description.known_images.features.values()} == {5}
    assert str(trained) not in json.dumps(description.provenance)
    told = json.loads((trained / "config.json").read_text())
    assert told["validation_images"] == ["5"]
    mask = Segmenter.load(trained / "weights.safetensors").mask(np.zeros((50, 70), np.uint8))
    assert mask.shape == (50, 70)


def test_history_config_curves_and_checkpoint_lie_beside_them(trained):
    (row,) = csv.DictReader((trained / "history.csv").read_text().splitlines())
    assert row["step"] == "4"
    assert 0 <= float(row["dice"]) <= 1
    assert float(row["validation_loss"]) > 0
    assert json.loads((trained / "config.json").read_text())["recipe"]["net"]["width"] == 4
    assert list((trained / "tensorboard").glob("events*"))
    assert (trained / "checkpoint.pt").stat().st_size > 0


@pytest.mark.usefixtures("no_report")
def test_the_same_seed_gives_the_same_weights(trained, cells_folder, tmp_path):
    assert run.main(["--data", str(cells_folder), "--out", str(tmp_path), *SHORT, "--name", "cells"]) == 0
    first, second = (load_weights(path / "weights.safetensors") for path in (trained, tmp_path))
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)
    assert first.sha256 == second.sha256


@pytest.mark.usefixtures("no_report")
def test_an_earlier_run_is_put_aside_not_overwritten(cells_folder, tmp_path):
    for _ in range(2):
        assert run.main(["--data", str(cells_folder), "--out", str(tmp_path), *SHORT]) == 0
    old, new = (load_weights(tmp_path / part / "weights.safetensors") for part in ("earlier/1", "."))
    assert old.tensors.keys() == new.tensors.keys()


@pytest.mark.usefixtures("no_report")
def test_the_tutorial_recipe_is_the_tutorials_steps(cells_folder, tmp_path):
    """Against the tutorial's loop, written out: the weights before the update that followed the lowest loss."""
    short = ["--recipe", "tutorial", "--width", "4", "--epochs", "2", "--workers", "0"]
    assert run.main(["--data", str(cells_folder), "--out", str(tmp_path), *short]) == 0
    kept = load_weights(tmp_path / "weights.safetensors")

    recipe = TUTORIAL.model_copy(update={"net": TUTORIAL.net.model_copy(update={"width": 4})})
    stream = SampleStream(load_samples(cells_folder), recipe, seed=0)
    torch.manual_seed(0)
    net = UNet(recipe.net)
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-5, weight_decay=1e-8, momentum=0.9)
    criterion = torch.nn.BCEWithLogitsLoss()
    best, expected = float("inf"), {}
    for position in range(2 * 6):
        net.train()
        image, label, _ = (part[None] for part in stream[position])
        optimizer.zero_grad()
        loss = criterion(net(image), label)
        if loss.item() < best:
            best, expected = loss.item(), {name: tensor.clone() for name, tensor in net.state_dict().items()}
        loss.backward()
        optimizer.step()
    assert kept.description.threshold == pytest.approx(1 / (1 + np.exp(-0.5)))
    assert kept.description.preprocessing.scaling == "raw"
    for name, tensor in expected.items():
        assert torch.equal(kept.tensors[name], tensor), name


def test_useless_options_are_refused_before_any_file_is_moved(trained, cells_folder, capsys):
    before = sorted(trained.iterdir())
    data = ["--data", str(cells_folder), "--out", str(trained)]
    for options, said in (
        (["--name", "my net"], "--name my net: "),
        (["--patience", "2", "--val-fraction", "0"], "--patience needs held-out images"),
        (["--threshold", "0.7"], "--threshold is for --val-fraction 0"),
        (["--select", "dice", "--val-fraction", "0"], "--select chooses weights by held-out images"),
        (["--select", "mean_dice"], "--select mean_dice: these labels can be scored by v_rand or objects or dice only"),
        (["--recipe", "tutorial", "--crop", "32"], "the tutorial recipe takes whole images"),
        (["--crop", "16", "--batch", "1"], "16 x 16 pixels are too few"),
    ):
        assert run.main([*data, *options]) == 2, options
        assert said in capsys.readouterr().err
    assert sorted(trained.iterdir()) == before


def test_weights_with_nan_are_not_kept(cells_folder, tmp_path, capsys):
    options = ["--data", str(cells_folder), "--out", str(tmp_path), *SHORT, "--val-fraction", "0"]
    assert run.main([*options, "--steps", "1", "--learning-rate", "1e38"]) == 1
    assert re.search(r"not numbers at step 1; try a lower --learning-rate. Kept: nothing yet", capsys.readouterr().err)
    assert not (tmp_path / WEIGHTS).exists()


def test_no_data_is_one_message_with_layout_and_first_steps(tmp_path):
    command = [sys.executable, "-m", "training.run"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no folder data/train" in done.stderr
    assert "python -m training.synthetic" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--width", "0"], "--width 0: Input should be greater"),
        (["--crop", "8"], "--crop 8: Input should be greater"),
        (["--name", "my/net"], "--name my/net: letters, digits, "),
        (["--init", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--init", str(BUNDLED_INT8)], "cannot be trained"),
        (["--init", "--width", "8"], "--width does not go with --init"),
        (["--val-fraction", "1.5"], "--val-fraction 1.5: Input should be less than 1"),
        (["--device", "cuda:7"], "device 'cuda:7'"),
    ],
)
def test_bad_options_are_named(cells_folder, tmp_path, capsys, option, said):
    assert run.main(["--data", str(cells_folder), "--out", str(tmp_path / "x"), *option]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "option",
    [["--steps", "0"], ["--minutes", "-1"], ["--minutes", "nan"], ["--patience", "0"], ["--learning-rate", "inf"]],
)
def test_lengths_must_be_more_than_0(capsys, option):
    with pytest.raises(SystemExit) as stopped:
        run.main(option)
    assert stopped.value.code == 2
    assert f"argument {option[0]}: must be more than 0" in capsys.readouterr().err


def test_all_data_errors_are_one_message_before_torch_is_imported(cells_folder, tmp_path):
    shutil.copytree(cells_folder, tmp_path / "data")
    (tmp_path / "data/image/1.png").write_bytes(b"no image")
    (tmp_path / "data/label/2.png").unlink()
    (tmp_path / "data/label/3.png").write_bytes(encode_png(np.zeros((5, 7), np.uint8)))
    command = [sys.executable, "-X", "importtime", "-m", "training.run", "--data", str(tmp_path / "data")]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 2
    said = done.stderr[done.stderr.index("training: ") :]
    assert all(name in said for name in ("image/1.png", "image/2.png", "3.png has 7 x 5"))
    assert not (tmp_path / "out").exists()
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)


def test_the_tutorial_recipe_accepts_a_threshold_with_held_out_images(cells_folder, tmp_path):
    """They are scored, but neither weights nor threshold chosen by them."""
    options = ["--recipe", "tutorial", "--val-fraction", "0.2", "--threshold", "0.7", "--width", "4", "--workers", "0"]
    trainer = preparation.prepare(
        parse(["--data", str(cells_folder), "--out", str(tmp_path / "out"), *options]), load_samples(cells_folder)
    )
    assert trainer.recipe.threshold == 0.7


@pytest.mark.usefixtures("no_report")
def test_training_starts_from_given_weights(trained, cells_folder, tmp_path):
    init = trained / "weights.safetensors"
    options = ["--data", str(cells_folder), "--out", str(tmp_path), "--init", str(init), "--learning-rate", "1e-12"]
    assert run.main([*options, "--steps", "2", "--batch", "2", "--workers", "0"]) == 0
    before, after = load_weights(init), load_weights(tmp_path / "weights.safetensors")
    assert after.description.architecture == before.description.architecture
    record = {"label": before.label, "kept": True, "loss": None, "loss_from_nothing": None}
    assert after.description.provenance["init"] == record
    for name, tensor in before.tensors.items():
        if name.endswith("weight"):
            assert torch.allclose(after.tensors[name], tensor, atol=1e-6), name


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(("options", "expected"), [([], "interiors"), (["--objects", "regions"], "regions")])
def test_the_kind_of_objects_is_stored_in_the_weights(tmp_path, options, expected):
    data = tmp_path / "data"
    assert synthetic.main(["--out", str(data), "--count", "3", "--size", "128"]) == 0
    assert run.main(["--data", str(data), "--out", str(tmp_path), *SHORT, *options]) == 0
    assert load_weights(tmp_path / "weights.safetensors").description.objects == expected


def test_without_held_out_images_the_last_weights_are_kept(cells_folder, tmp_path, capsys):
    options = ["--data", str(cells_folder), "--out", str(tmp_path), *SHORT, "--val-fraction", "0"]
    assert run.main([*options, "--threshold", "0.7"]) == 0
    description = load_weights(tmp_path / "weights.safetensors").description
    assert description.threshold == 0.7
    reached = description.provenance["reached"]
    assert isinstance(reached, dict)
    assert {name: reached[name] for name in ("step", "steps", "scores")} == {"step": 4, "steps": 4, "scores": None}
    assert "objective" not in reached
    assert "nothing is known of how good they are" in capsys.readouterr().out
    assert (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("no_report")
def test_colour_images_make_a_net_for_colour(tmp_path, write_pair):
    rng = np.random.default_rng(0)
    for stem in ("0", "1"):
        label = np.where(rng.random((32, 32)) > 0.5, 255, 0).astype(np.uint8)
        write_pair(tmp_path / "data", stem, rng.integers(0, 255, (32, 32, 3), np.uint8), label)
    assert run.main(["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *SHORT]) == 0
    description = load_weights(tmp_path / "out/weights.safetensors").description
    assert description.architecture.in_channels == 3
    assert description.preprocessing.channels == "rgb"
