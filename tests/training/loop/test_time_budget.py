"""`--minutes`: the plan and its end."""

import csv
import itertools
import json

import pytest
import torch

from training.data.folder import load_samples
from training.loop import schedule
from training.loop import time_budget as pace
from training.loop.machine import Machine
from training.recipe import DEFAULT
from training.run import command as run
from training.run import preparation
from training.run.command_line import parse


def test_time_budget_ends_with_weights_and_a_report_of_the_steps_made(cells_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(schedule, "REPORT", 0.5)
    options = ["--data", str(cells_folder), "--width", "4", "--batch", "2", "--crop", "32", "--workers", "0"]
    assert run.main([*options, "--out", str(tmp_path), "--minutes", "0.1"]) == 0
    assert "0.1 minutes, about " in capsys.readouterr().out
    config = json.loads((tmp_path / "config.json").read_text())
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert int(rows[-1]["step"]) == config["steps"]
    assert config["ended"] == "finished"
    assert "The training was stopped" not in (tmp_path / "report.html").read_text()


def test_the_pace_is_the_median_step_after_the_first_ones(cells_folder):
    durations = iter([50.0, 2.0, 1.0, 9.0, 3.0, 2.0, 1000.0])
    clock = itertools.accumulate(itertools.chain.from_iterable((0.0, next(durations)) for _ in itertools.count()))
    update = {"net": DEFAULT.net.model_copy(update={"width": 4}), "batch": 1, "crop": 32}
    recipe, machine = DEFAULT.model_copy(update=update), Machine(torch.device("cpu"))
    samples = load_samples(cells_folder)
    pace_s = pace.seconds_per_step(recipe, machine, samples, patience=66.5, now=lambda: next(clock))
    assert pace_s == 2.0


@pytest.mark.parametrize(
    ("minutes", "options", "width"),
    [
        ("60", [], 32),
        ("10", [], 16),
        ("10", ["--width", "32"], 32),
        ("10", ["--recipe", "tutorial"], 64),
        ("40", ["--select", "objects"], 16),
        ("60", ["--select", "objects"], 32),
    ],
)
def test_in_a_short_time_a_narrow_net_learns_more(cells_folder, tmp_path, monkeypatch, minutes, options, width):
    monkeypatch.setattr(pace, "seconds_per_step", lambda recipe, *_: recipe.net.width / 32)
    samples = load_samples(cells_folder)
    options += ["--data", str(cells_folder), "--out", str(tmp_path / "out"), "--workers", "0", "--minutes", minutes]
    recipe = preparation.prepare(parse(options), samples).recipe
    assert recipe.net.width == width
    assert recipe.steps is not None
