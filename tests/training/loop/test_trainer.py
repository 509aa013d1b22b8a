"""The loop: when it stops, and what it keeps."""

import re

import pytest
import torch

from training.data.folder import load_samples
from training.loop.machine import Machine
from training.loop.run_folder import RunFolder
from training.loop.trainer import Trainer, TrainingError
from training.recipe import DEFAULT, RECIPES
from training.run import command as run


def test_a_nan_loss_stops_training_and_keeps_the_last_checkpoint(cells_folder, tmp_path):
    samples = load_samples(cells_folder)
    recipe = DEFAULT.model_copy(
        update={
            "net": DEFAULT.net.model_copy(update={"width": 4}),
            "steps": 50,
            "batch": 1,
            "crop": 32,
            "learning_rate": 1e30,
            "clip_norm": None,
            "check_every": 1,
        }
    )
    description = load_description(recipe)
    folder = RunFolder(tmp_path).begin()
    trainer = Trainer(recipe, description, samples[:5], [], folder, Machine(torch.device("cpu")), seed=0)
    with pytest.raises(TrainingError, match="lower --learning-rate"):
        trainer.run()
    assert trainer.step < 50


def load_description(recipe):
    from model.weights_file import Description

    return Description(name="x", architecture=recipe.net, preprocessing=recipe.preprocessing, threshold=0.5)


@pytest.mark.usefixtures("no_report")
def test_training_stops_after_checks_without_improvement(cells_folder, tmp_path, monkeypatch, capsys):
    """A rate of next to nothing: once the batch statistics have settled, no check is better than the one before."""
    monkeypatch.setitem(RECIPES, "default", DEFAULT.model_copy(update={"check_every": 20}))
    options = ["--width", "4", "--batch", "1", "--steps", "3000", "--learning-rate", "1e-12", "--workers", "0"]
    options += ["--data", str(cells_folder), "--crop", "64", "--patience", "1"]
    assert run.main([*options, "--out", str(tmp_path / "out")]) == 0
    assert re.search(r"stopped at step [12]?\d?\d0 of 3000: no longer better", capsys.readouterr().out)
