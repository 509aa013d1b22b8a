"""`--init` is compared with training from nothing, and the better start is taken."""

import json
from pathlib import Path

import pytest
import torch

from model.weights_file import load_weights, save_weights
from training.data.folder import load_samples
from training.loop import init_trial
from training.loop import time_budget as pace
from training.recipe import DEFAULT, RECIPES
from training.run import command as run
from training.run import job, preparation
from training.run.command_line import parse

LENGTH = ["--batch", "2", "--crop", "32", "--workers", "0", "--steps", "10"]


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    """Trials of two steps, nets of width 4, and no reports."""
    monkeypatch.setattr(init_trial, "SHARE", 0.2)
    monkeypatch.setattr(init_trial, "FEWEST_STEPS", 2)
    narrow = DEFAULT.model_copy(update={"net": DEFAULT.net.model_copy(update={"width": 4})})
    monkeypatch.setitem(RECIPES, "default", narrow)
    monkeypatch.setattr(job, "report", lambda trainer: trainer.folder.report)


@pytest.fixture
def losses(monkeypatch) -> list[float]:
    """Losses of the next trials, instead of real ones."""
    queue: list[float] = []
    monkeypatch.setattr(init_trial, "_trial_loss", lambda *_: queue.pop(0))
    return queue


def train(data: Path, out: Path, init: Path, *more: str) -> None:
    assert run.main(["--data", str(data), "--out", str(out), "--init", str(init), *LENGTH, *more]) == 0


def test_real_trial_keeps_good_weights_and_drops_harmful_ones(trained, cells_folder, tmp_path, capsys):
    good = load_weights(trained / "weights.safetensors")
    outcomes = {}
    for name, factor in (("good", 1.0), ("harmful", 1e4)):
        tensors = good.tensors | {"outc.conv.weight": factor * good.tensors["outc.conv.weight"]}
        save_weights(tmp_path / f"{name}.safetensors", tensors, good.description)
        train(cells_folder, tmp_path / name, tmp_path / f"{name}.safetensors")
        record = json.loads((tmp_path / name / "config.json").read_text())["init"]
        assert load_weights(tmp_path / name / "weights.safetensors").description.provenance["init"] == record
        assert record["kept"] == (record["loss"] <= record["loss_from_nothing"])
        assert f"{record['loss']:.4f} from {record['label']}" in capsys.readouterr().out
        outcomes[name] = record["kept"]
    assert outcomes == {"good": True, "harmful": False}


def test_weights_that_lose_leave_no_trace_in_the_training(losses, trained, cells_folder, tmp_path, capsys):
    losses += [0.7, 0.6]
    train(cells_folder, tmp_path / "dropped", trained / "weights.safetensors")
    assert "the training starts from nothing" in capsys.readouterr().out
    assert run.main(["--data", str(cells_folder), "--out", str(tmp_path / "nothing"), *LENGTH]) == 0
    dropped, nothing = (load_weights(tmp_path / out / "weights.safetensors") for out in ("dropped", "nothing"))
    assert all(torch.equal(tensor, nothing.tensors[name]) for name, tensor in dropped.tensors.items())
    assert dropped.description.preprocessing == nothing.description.preprocessing


@pytest.mark.parametrize("found", [[0.5, 0.6], [0.6, 0.5]], ids=["kept", "dropped"])
def test_resuming_keeps_the_outcome_of_the_trial(losses, trained, cells_folder, tmp_path, found):
    losses += found
    train(cells_folder, tmp_path / "out", trained / "weights.safetensors")
    before = load_weights(tmp_path / "out/weights.safetensors")
    train(cells_folder, tmp_path / "out", trained / "weights.safetensors", "--resume")
    assert load_weights(tmp_path / "out/weights.safetensors").sha256 == before.sha256


def test_resuming_with_other_weights_is_refused(losses, trained, cells_folder, tmp_path, capsys):
    losses += [0.5, 0.6]
    train(cells_folder, tmp_path / "out", trained / "weights.safetensors")
    options = ["--data", str(cells_folder), "--out", str(tmp_path / "out"), *LENGTH, "--resume", "--init"]
    assert run.main([*options, str(tmp_path / "out/weights.safetensors")]) == 2
    assert "another --init" in capsys.readouterr().err


def test_short_training_starts_from_the_weights_without_a_trial(losses, trained, cells_folder, tmp_path, capsys):
    train(cells_folder, tmp_path / "out", trained / "weights.safetensors", "--steps", "5")
    assert losses == []
    assert "too short for a trial, so it starts from cells@" in capsys.readouterr().out


def test_trial_shortens_the_plan_within_the_minutes(losses, trained, cells_folder, tmp_path, monkeypatch):
    losses += [0.5, 0.6]
    monkeypatch.setattr(pace, "seconds_per_step", lambda *_: 6.0)
    arguments = ["--data", str(cells_folder), "--out", str(tmp_path / "out"), *LENGTH[:-2], "--minutes", "10"]
    options = parse([*arguments, "--init", str(trained / "weights.safetensors")])
    trainer = preparation.prepare(options, load_samples(cells_folder))
    assert (trainer.steps, trainer.limits.seconds) == (60, 600)
