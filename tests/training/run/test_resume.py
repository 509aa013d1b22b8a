"""`--resume`: a training that was stopped, killed or out of space ends with the weights of one that never was."""

import errno
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.weights_file import load_weights
from tests.support import forked, often_checked, servers
from tests.support.forked import Forked
from tests.support.stopping import stop_after
from tests.support.together import together
from training.data.folder import load_samples
from training.data_error import DataError
from training.loop import run_folder, trainer
from training.loop import time_budget as pace
from training.loop.checkpoints import read_checkpoint
from training.recipe import DEFAULT, RECIPES
from training.report import html_report as report
from training.run import command as run
from training.run import preparation
from training.run.command_line import parse
from training.scoring import prediction_scoring

Train = Callable[..., int]

WEIGHTS = "weights.safetensors"
SHORT = ["--width", "4", "--steps", "4", "--batch", "2", "--workers", "0"]
MANY_CHECKS = ["--width", "4", "--crop", "32", "--steps", "6", "--batch", "2", "--workers", "0"]


@pytest.fixture
def train(cells_folder, tmp_path, monkeypatch) -> Train:
    """`train("folder", options...)`: six steps and three checks into a folder of `tmp_path`; its exit code."""
    monkeypatch.setitem(RECIPES, "default", DEFAULT.model_copy(update={"check_every": 2}))

    def train(out: str, *more: str) -> int:
        return run.main(["--data", str(cells_folder), "--out", str(tmp_path / out), *MANY_CHECKS, *more])

    return train


@pytest.fixture(scope="module")
def whole(cells_folder, tmp_path_factory) -> str:
    """The sha256 of the weights that `train` ends with if nothing stops it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "default", DEFAULT.model_copy(update={"check_every": 2}))
        out = tmp_path_factory.mktemp("runs") / "whole"
        assert run.main(["--data", str(cells_folder), "--out", str(out), *MANY_CHECKS]) == 0
    return load_weights(out / WEIGHTS).sha256


def _expect_same(one: Path, other: Path) -> None:
    """Two trainings' folders: weights and nets."""
    assert load_weights(one / WEIGHTS).sha256 == load_weights(other / WEIGHTS).sha256
    states = [read_checkpoint(folder / "checkpoint.pt")["learner"]["net"] for folder in (one, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.usefixtures("no_report")
def test_resume_alone_needs_a_training_in_the_folder(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run.main(["--resume", "--out", str(tmp_path / "none")])
    assert stopped.value.code == 2
    assert "holds no training yet; to begin one, give --data" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_stopped_by_ctrl_c_and_resumed_gives_the_same_weights(cells_folder, tmp_path):
    """Stopped in a process of its own, between two of many checks."""

    def options(out: str) -> list[str]:
        paths = ["--data", str(cells_folder), "--out", str(tmp_path / out)]
        return [*paths, "--width", "4", "--crop", "32", "--batch", "2", "--steps", "40", "--workers", "0"]

    log = tmp_path / "log"
    with log.open("w") as both:
        process = Forked("tests.support.often_checked", *options("stopped"), stdout=both, stderr=both)
    while not (tmp_path / "stopped/history.csv").exists():
        assert process.poll() is None, "it ended before its first check"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "--resume" in log.read_text()
    assert "Traceback" not in log.read_text()
    stopped = read_checkpoint(tmp_path / "stopped/checkpoint.pt")
    assert 0 < stopped["step"] < 40, "stopped in the middle"

    assert often_checked.main(options("whole")) == 0
    assert often_checked.main([*options("stopped"), "--resume"]) == 0
    _expect_same(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.usefixtures("no_report")
def test_the_tutorial_recipe_resumes_exactly(cells_folder, tmp_path, monkeypatch):
    def train(out: str, *more: str) -> int:
        options = ["--recipe", "tutorial", "--width", "4", "--epochs", "2", "--workers", "0"]
        return run.main(["--data", str(cells_folder), "--out", str(tmp_path / out), *options, *more])

    train_step = trainer.Trainer._train_step

    def stopped_in_the_second_epoch(self: trainer.Trainer, batch: Any) -> None:
        train_step(self, batch)
        if self.step == 8:
            signal.raise_signal(signal.SIGINT)

    assert train("whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_train_step", stopped_in_the_second_epoch)
        assert train("stopped") == 130
    assert read_checkpoint(tmp_path / "stopped/checkpoint.pt")["step"] == 8
    assert train("stopped", "--resume") == 0
    _expect_same(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("options", [[], ["--patience", "1"], ["--classes", "2"], ["--val-fraction", "0"]], ids=str)
def test_weights_are_marked_until_their_training_has_ended(train, tmp_path, monkeypatch, options):
    train_step = trainer.Trainer._train_step

    def stopped_in_the_third(self: trainer.Trainer, batch: Any) -> None:
        train_step(self, batch)
        if self.step == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_train_step", stopped_in_the_third)
        assert train("out", *options) == 130
    assert load_weights(tmp_path / "out" / WEIGHTS).description.is_unfinished
    assert train("out", *options, "--resume") == 0
    description = load_weights(tmp_path / "out" / WEIGHTS).description
    assert not description.is_unfinished
    assert "finished" not in str(description.provenance["reached"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([*SHORT, "--label-format", "inverted"], "another training images"),
        ([*SHORT, "--crop", "64"], "another recipe"),
    ],
)
def test_resuming_with_what_would_change_the_weights_is_refused(trained, cells_folder, capsys, options, said):
    assert run.main(["--data", str(cells_folder), "--out", str(trained), "--resume", *options]) == 2
    assert said in capsys.readouterr().err


def test_resuming_with_other_options_is_refused(trained, cells_folder, capsys):
    other = ["--data", str(cells_folder), "--out", str(trained), "--resume", *SHORT, "--seed", "9"]
    assert run.main(other) == 2
    assert "another seed" in capsys.readouterr().err


def test_resuming_with_other_images_is_refused(trained, cells_folder, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(cells_folder, other)
    for part in ("image", "label"):
        (other / part / "0.png").rename(other / part / "7.png")
    assert run.main(["--data", str(other), "--out", str(trained), "--resume", *SHORT]) == 2
    assert "another training images" in capsys.readouterr().err


def test_resuming_with_init_is_refused_if_training_began_without_it(trained, cells_folder, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "out")
    (tmp_path / "out/config.json").unlink()
    options = ["--data", str(cells_folder), "--out", str(tmp_path / "out"), "--steps", "4", "--workers", "0"]
    assert run.main([*options, "--init", "--resume"]) == 2
    assert "another recipe and another --init" in capsys.readouterr().err


class Killed(BaseException):
    """Not an Exception, for nobody to catch."""


def _kill_at(moment: int, patch: pytest.MonkeyPatch) -> list[str]:
    """From the operation of that number on, nothing changes the disk any more; returns the list of what was done."""
    done: list[str] = []

    def killing(owner: Any, name: str) -> None:
        operation = getattr(owner, name)

        def count(*arguments: Any, **named: Any) -> Any:
            if len(done) >= moment:
                raise Killed(name)
            done.append(name)
            return operation(*arguments, **named)

        patch.setattr(owner, name, count)

    for owner, name in ((Path, "replace"), (Path, "rename"), (Path, "mkdir"), (Path, "unlink"), (os, "fsync")):
        killing(owner, name)
    return done


@pytest.mark.usefixtures("no_report")
def test_a_kill_at_any_disk_operation_does_not_change_the_final_weights(train, whole, tmp_path, monkeypatch):
    """Each process is killed one operation later than the one before, so each goes on from another state."""
    train("out", "--seed", "1")  # an earlier training, to be put aside first
    moment, ended, read = 0, 0, set[int]()
    resume: list[str] = []
    while ended < 2:
        with monkeypatch.context() as patch:
            done = _kill_at(moment, patch)
            try:
                assert train("out", *resume) == 0
            except Killed:
                assert len(done) == moment
                # until the earlier training is touched, it is the one to go on with
                resume = ["--resume"] if list((tmp_path / "out").glob("earlier/*")) else []
            else:
                assert load_weights(tmp_path / "out" / WEIGHTS).sha256 == whole
                ended, resume = ended + 1, []
        for name in (run_folder.CHECKPOINT, run_folder.PREVIOUS_CHECKPOINT):
            path = tmp_path / "out" / name
            if path.exists() and (written := path.stat().st_mtime_ns) not in read:
                read_checkpoint(path)
                read.add(written)
        moment += 1
    assert moment > 30
    assert all((earlier / WEIGHTS).exists() for earlier in (tmp_path / "out/earlier").iterdir())
    steps = [row["step"] for row in run_folder.read_history(tmp_path / "out/history.csv")]
    assert steps == [2, 4, 6]
    assert not list((tmp_path / "out").glob("*.tmp")), "nothing half-written is left"


def _scores(history: Path) -> list[dict[str, float]]:
    rows = run_folder.read_history(history)
    return [{name: value for name, value in row.items() if name not in ("seconds", "waiting")} for row in rows]


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_stopped_during_a_check_repeats_the_check_first(train, tmp_path, monkeypatch, capsys, signal_number):
    options = ["--val-fraction", "0.5"]
    train("whole", *options)
    segmented = []

    def stop(*_: Any) -> Any:
        segmented.append(1)
        signal.raise_signal(signal_number)
        return picture(*_)

    picture = prediction_scoring.picture
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "picture", stop)
        assert train("out", *options) == 130
    assert len(segmented) == 1, "it does not wait for the other images"
    assert capsys.readouterr().err.endswith(f"training: stopped; --resume continues from {tmp_path / 'out'}\n")
    state = read_checkpoint(tmp_path / "out/checkpoint.pt")
    assert (state["step"], state["checked"], len(state["losses"])) == (2, 0, 2)
    assert train("out", *options, "--resume") == 0
    assert _scores(tmp_path / "out/history.csv") == _scores(tmp_path / "whole/history.csv")
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_stopped_while_the_report_is_written_it_is_written_later(train, whole, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(report, "render", lambda *_: signal.raise_signal(signal.SIGTERM))
        assert train("out") == 130
    assert "training: stopped; --resume continues from" in capsys.readouterr().err
    assert load_weights(tmp_path / "out" / WEIGHTS).sha256 == whole
    assert not (tmp_path / "out/report.html").exists()
    assert train("out", "--resume") == 0
    assert load_weights(tmp_path / "out" / WEIGHTS).sha256 == whole
    assert (tmp_path / "out/report.html").exists()


@pytest.mark.parametrize(
    ("start", "said"),
    [(servers.start, "labels: "), (forked.start, "images to train on")],
    ids=["importing", "imported"],
)
def test_stopped_while_it_starts_up_it_says_so_without_a_traceback(cells_folder, tmp_path, start, said):
    """During the imports, and after them."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        command = ["training.run", "--data", str(cells_folder), "--out", str(tmp_path / "out"), *SHORT]
        process = start(command, dict(os.environ), file)
    while said not in log.read_text():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)  # what runs in the background may ignore SIGINT
    # Python ends itself by SIGINT if that came within an exec(), as imports have some; to a shell both are 130
    assert process.wait(60) in (130, -signal.SIGINT), log.read_text()
    assert "training: stopped" in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.usefixtures("no_report")
def test_slow_steps_are_saved_between_checks_without_changing_weights(train, whole, tmp_path, monkeypatch):
    saved, save = [], trainer.Trainer.save

    def note(self: trainer.Trainer) -> None:
        saved.append(self.step)
        save(self)

    monkeypatch.setattr(trainer, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(trainer.Trainer, "save", note)
    train_step = trainer.Trainer._train_step

    def killed_in_the_fourth(self: trainer.Trainer, batch: Any) -> None:
        if self.step == 3:
            raise Killed
        train_step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_train_step", killed_in_the_fourth)
        with pytest.raises(Killed):
            train("out")
    assert read_checkpoint(tmp_path / "out/checkpoint.pt")["step"] == 3
    assert train("out", "--resume") == 0
    assert saved == [0, 0, 1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 6]
    assert load_weights(tmp_path / "out" / WEIGHTS).sha256 == whole


@pytest.mark.usefixtures("no_report")
def test_newer_or_missing_weights_are_rebuilt_from_the_checkpoint(train, whole, tmp_path):
    train("out")
    for spoil in (lambda path: path.write_bytes(b"of another step"), Path.unlink):
        spoil(tmp_path / "out" / WEIGHTS)
        (tmp_path / "out/history.csv").write_text("step,lo")
        assert train("out", "--resume") == 0
        assert load_weights(tmp_path / "out" / WEIGHTS).sha256 == whole
        assert [row["step"] for row in run_folder.read_history(tmp_path / "out/history.csv")] == [2, 4, 6]


@pytest.mark.usefixtures("no_report")
def test_a_damaged_checkpoint_falls_back_to_the_previous_one_with_a_line(train, whole, tmp_path, capsys):
    train("out")
    newest = tmp_path / "out/checkpoint.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    capsys.readouterr()
    assert train("out", "--resume") == 0
    said = f"{newest}: broken or truncated; resuming from the previous checkpoint, step 4\n"
    assert capsys.readouterr().err.count(said) == 1
    assert load_weights(tmp_path / "out" / WEIGHTS).sha256 == whole
    assert [row["step"] for row in run_folder.read_history(tmp_path / "out/history.csv")] == [2, 4, 6]


@pytest.mark.usefixtures("no_report")
def test_if_both_are_damaged_that_is_one_line_and_nothing_is_touched(train, tmp_path, capsys):
    train("out")
    for name in (run_folder.CHECKPOINT, run_folder.PREVIOUS_CHECKPOINT):
        (tmp_path / "out" / name).write_bytes(b"damaged")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    capsys.readouterr()
    assert train("out", "--resume") == 2
    said = capsys.readouterr().err
    assert said.count("broken or truncated") == 2
    assert said.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.usefixtures("no_report")
def test_without_a_checkpoint_it_begins_and_says_so(train, whole, tmp_path, capsys):
    assert train("new", "--resume") == 0
    assert f"{tmp_path / 'new'}: no checkpoint yet, starting from the beginning\n" in capsys.readouterr().out
    assert load_weights(tmp_path / "new" / WEIGHTS).sha256 == whole


@pytest.mark.usefixtures("no_report")
def test_resume_needs_no_options_but_the_folder(train, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_is_check_due", lambda _: signal.raise_signal(signal.SIGINT))
        assert train("out") == 130
    for _ in range(2):
        assert run.main(["--out", str(tmp_path / "out"), "--resume"]) == 0
        assert load_weights(tmp_path / "out" / WEIGHTS).sha256 == whole


@pytest.mark.parametrize("width", [["--width", "4"], []], ids=["given", "chosen"])
def test_a_time_budget_is_resumed_with_its_plan(cells_folder, tmp_path, monkeypatch, width):
    monkeypatch.setattr(pace, "seconds_per_step", lambda *_: 0.2)
    options = ["--data", str(cells_folder), "--out", str(tmp_path / "out"), *width, "--batch", "2"]
    arguments = parse([*options, "--crop", "32", "--workers", "0", "--minutes", "1"])
    samples = load_samples(cells_folder)
    first = preparation.prepare(arguments, samples)
    monkeypatch.setattr(pace, "seconds_per_step", lambda *_: 1.0)
    arguments = replace(arguments, resume=True)
    again = preparation.prepare(arguments, samples)
    assert again.schedule == first.schedule
    assert again.recipe == first.recipe
    checkpoint = tmp_path / "out/checkpoint.pt"
    state = read_checkpoint(checkpoint)
    state["recipe"] = state["recipe"].replace("check_every", "checked_every")
    torch.save(state, checkpoint)
    with pytest.raises(DataError, match="the checkpoint is of another version, and its plan cannot be read"):
        preparation.prepare(arguments, samples)


def _train_into_small_files(argv: list[str]) -> int:
    resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))
    return run.main(argv)


@pytest.mark.usefixtures("no_report")
def test_a_file_size_limit_ends_training_with_one_line_and_can_resume(trained, cells_folder, tmp_path):
    """The limit holds for a process of its own: the one that tests would not survive it."""
    options = ["--data", str(cells_folder), "--out", str(tmp_path), *SHORT, "--name", "cells"]
    [begun] = together(1, _train_into_small_files, options)
    assert begun.code == 1
    assert begun.stderr == (
        f"training: {tmp_path}: cannot be written to (File too large); "
        "all up to step 0 is kept, and --resume continues from there\n"
    )
    assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 0
    assert not list(tmp_path.glob("*.tmp"))
    assert run.main([*options, "--resume"]) == 0
    assert (tmp_path / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()


def test_an_impossible_output_folder_is_one_line_before_training(train, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert train("file/out") == 2
    assert capsys.readouterr().err == f"training: {tmp_path / 'file/out'}: cannot be written to (Not a directory)\n"


@pytest.mark.parametrize(
    ("written", "time", "number"),
    [
        ("checkpoint-next.pt", 2, errno.ENOSPC),
        ("checkpoint-next.pt", 4, errno.EROFS),
        ("history.csv", 2, errno.EDQUOT),
        (WEIGHTS, 1, errno.ENOSPC),
        ("config.json", 2, errno.ENOSPC),
        ("report.html", 1, errno.ENOSPC),
    ],
)
def test_a_full_disk_ends_training_with_one_line_and_resume_continues(
    request, train, whole, tmp_path, monkeypatch, capsys, written, time, number
):
    if written != "report.html":
        request.getfixturevalue("no_report")
    replaced, replace = [], Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == written:
            replaced.append(target)
            if len(replaced) == time:
                raise OSError(number, os.strerror(number))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        assert train("out") == 1
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if not line.startswith(("step", "\r"))] == said[-1:]
    assert f"out: cannot be written to ({os.strerror(number)}); all up to step " in said[-1]
    assert train("out", "--resume") == 0
    assert load_weights(tmp_path / "out" / WEIGHTS).sha256 == whole


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("stopped", [1, 4], ids=["before the first check", "after a check"])
def test_training_from_the_weights_in_its_folder_resumes(trained, cells_folder, tmp_path, monkeypatch, stopped):
    """The new training moves these weights to `earlier/`, and later writes its own under their name."""
    monkeypatch.setitem(RECIPES, "default", DEFAULT.model_copy(update={"check_every": 2}))

    def train_on(out: Path, *more: str) -> int:
        options = ["--data", str(cells_folder), "--out", str(out), "--init", str(out / WEIGHTS), *MANY_CHECKS[2:]]
        return run.main([*options, *more])

    whole, resumed = (shutil.copytree(trained, tmp_path / name) for name in ("whole", "resumed"))
    assert train_on(whole) == 0
    stop_after(stopped, monkeypatch)
    assert train_on(resumed) == 130
    assert train_on(resumed, "--resume") == 0
    _expect_same(whole, resumed)


@pytest.mark.usefixtures("no_report")
def test_resuming_with_another_rule_of_objects_is_refused(train, monkeypatch, capsys):
    stop_after(3, monkeypatch)
    assert train("run", "--objects", "interiors") == 130
    assert train("run", "--objects", "regions", "--resume") == 2
    assert "made with another --objects" in capsys.readouterr().err
