"""`--folds K`: out-of-fold scores and threshold, and final weights trained on all images."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from model.segmenter import Segmenter
from model.weights_file import Description, load_weights
from tests.support.stopping import stop_after
from training.data.folder import load_samples
from training.loop import time_budget as pace
from training.loop import trainer
from training.loop.machine import Machine
from training.loop.run_folder import RunFolder
from training.recipe import Recipe
from training.report.html_report import write_report
from training.run import command as run
from training.run import job
from training.scoring.measures import Measures
from training.scoring.objective import choose_objective
from training.scoring.prediction_scoring import evaluate_predictions

FOLDED = ["--width", "4", "--steps", "4", "--batch", "2", "--workers", "0", "--crop", "32", "--folds", "2"]


@pytest.fixture(scope="module")
def folded(cells_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "folded"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "report", lambda trainer: trainer.folder.report)
        assert run.main(["--data", str(cells_folder), "--out", str(out), *FOLDED]) == 0
    return out


def test_out_of_fold_scores_come_from_weights_blind_to_the_image(folded, cells_folder):
    samples = {sample.name: sample for sample in load_samples(cells_folder)}
    parts = [RunFolder(folded / "folds" / str(number)) for number in (1, 2)]
    held = [part.read_config()["validation_images"] for part in parts]
    assert sorted(held[0] + held[1]) == sorted(samples)
    by_name = {name: Segmenter.load(part.weights) for part, names in zip(parts, held, strict=True) for name in names}
    everything = list(samples.values())
    objective, _ = choose_objective(everything, classes=1)
    measures = Measures.suited_to(everything, objective, load_weights(parts[0].weights).description.object_rule)
    expected = evaluate_predictions(
        lambda sample: by_name[sample.name].probabilities(sample.pixels)[0], 0.5, everything, measures
    )
    stored = json.loads((folded / "folds/scores.json").read_text())
    assert stored["summary"]["score"] == pytest.approx(expected.score())
    assert stored["summary"]["threshold"] == expected.threshold
    assert sorted(stored["images"]) == sorted(samples)


def test_final_weights_are_trained_on_all_images_and_name_the_score(folded, cells_folder):
    description = load_weights(folded / "weights.safetensors").description
    config = RunFolder(folded).read_config()
    summary = json.loads((folded / "folds/scores.json").read_text())["summary"]
    assert description.threshold == summary["threshold"]
    assert description.provenance["folds"] == config["folds"] == summary
    assert description.provenance["images"] == {"training": 6, "validation": 0}
    assert len(config["training_images"]) == len(load_samples(cells_folder))
    assert config["ended"] == "finished"


def test_report_of_the_final_weights_names_the_out_of_fold_score(folded):
    page = write_report(RunFolder(folded), []).read_text()
    summary = json.loads((folded / "folds/scores.json").read_text())["summary"]
    assert f"{summary['measure']} {summary['score']:.4f} out of fold (6 images, 2 folds)" in page
    assert "the best one of the out-of-fold scores" in page
    assert "so nothing was measured" not in page


@pytest.mark.parametrize("stopped_fold", [2, 3], ids=["in the second fold", "in the final training"])
def test_interrupted_training_resumes_at_its_fold(folded, cells_folder, tmp_path, monkeypatch, capsys, stopped_fold):
    monkeypatch.setattr(job, "report", lambda trainer: trainer.folder.report)
    train_step, trained = trainer.Trainer._train_step, []

    def interrupted(self: trainer.Trainer, batch: Any) -> None:
        train_step(self, batch)
        trained.append(self.folder.path.name)
        if len(trained) == 4 * stopped_fold - 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(trainer.Trainer, "_train_step", interrupted)
    assert run.main(["--data", str(cells_folder), "--out", str(tmp_path), *FOLDED]) == 130
    assert f"--resume continues from {tmp_path}\n" in capsys.readouterr().err
    assert run.main(["--out", str(tmp_path), "--resume"]) == 0
    assert len(trained) == 3 * 4, "no step is trained twice"
    whole, resumed = (load_weights(folder / "weights.safetensors") for folder in (folded, tmp_path))
    assert whole.sha256 == resumed.sha256


def test_folder_of_one_fold_cannot_be_resumed(folded, capsys):
    assert run.main(["--out", str(folded / "folds/2"), "--resume"]) == 2
    assert f"is fold 2 of 2 of a training with --folds; resume {folded}" in capsys.readouterr().err


def test_training_without_folds_cannot_be_resumed_with_folds(trained, cells_folder, capsys):
    assert run.main(["--data", str(cells_folder), "--out", str(trained), *FOLDED, "--resume"]) == 2
    assert "has no --folds" in capsys.readouterr().err
    assert not (trained / "folds").exists()


def test_classes_are_scored_out_of_fold_without_a_threshold(classes_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "report", lambda trainer: trainer.folder.report)
    options = ["--data", str(classes_folder), "--out", str(tmp_path), *FOLDED, "--classes", "3"]
    assert run.main(options) == 0
    summary = load_weights(tmp_path / "weights.safetensors").description.provenance["folds"]
    assert isinstance(summary, dict)
    assert summary["measure"] == "mean Dice"
    assert summary["images"] == 5
    assert "threshold" not in summary


def test_minutes_are_shared_by_all_trainings(cells_folder, tmp_path, monkeypatch):
    """Every training gets a third of the time, and the first one's plan."""
    minutes: list[float] = []
    plans: list[tuple[int | None, float]] = []
    complete = job.complete

    def fit(recipe: Recipe, _: Machine, given: float, *__: Any, **___: Any) -> Recipe:
        minutes.append(given)
        return recipe.model_copy(update={"steps": 3, "check_every": 3})

    def noted(one: trainer.Trainer, out: Path) -> int:
        plans.append((one.recipe.steps, one.limits.seconds))
        return complete(one, out)

    monkeypatch.setattr(pace, "fit", fit)
    monkeypatch.setattr(job, "complete", noted)
    monkeypatch.setattr(job, "report", lambda trainer: trainer.folder.report)
    options = ["--width", "4", "--batch", "2", "--workers", "0", "--crop", "32", "--folds", "2", "--minutes", "0.1"]
    assert run.main(["--data", str(cells_folder), "--out", str(tmp_path), *options]) == 0
    assert len(minutes) == 1
    assert plans == [(3, plans[0][1])] * 3
    assert minutes[0] * 60 <= plans[0][1] <= 2  # the time for loading is inside


@pytest.mark.usefixtures("no_report")
def test_folds_start_from_the_weights_in_their_folder(folded, cells_folder, tmp_path, monkeypatch):
    """Every training starts from them, also after an interruption."""
    for out in ("whole", "stopped"):
        shutil.copytree(folded, tmp_path / out)
    options = [*FOLDED[2:], "--data", str(cells_folder)]
    from_whole = [*options, "--out", str(tmp_path / "whole"), "--init", str(tmp_path / "whole/weights.safetensors")]
    assert run.main(from_whole) == 0
    stop_after(3, monkeypatch)
    stopped = [*options, "--out", str(tmp_path / "stopped"), "--init", str(tmp_path / "stopped/weights.safetensors")]
    assert run.main(stopped) == 130
    assert run.main(["--out", str(tmp_path / "stopped"), "--resume"]) == 0
    whole, resumed = (load_weights(tmp_path / out / "weights.safetensors") for out in ("whole", "stopped"))
    assert whole.sha256 == resumed.sha256
    assert whole.description.provenance["init"] == load_fold(tmp_path / "whole", 2).provenance["init"]
    assert (tmp_path / "whole/earlier/1/weights.safetensors").exists()


def load_fold(out: Path, number: int) -> Description:
    return load_weights(out / "folds" / str(number) / "weights.safetensors").description


@pytest.mark.usefixtures("no_report")
def test_options_that_contradict_each_other_leave_an_earlier_training(folded, cells_folder, tmp_path, capsys):
    shutil.copytree(folded, tmp_path / "out")
    options = ["--data", str(cells_folder), "--out", str(tmp_path / "out"), *FOLDED]
    assert run.main([*options, "--init", str(folded / "weights.safetensors")]) == 2
    assert "--width does not go with --init" in capsys.readouterr().err
    assert not (tmp_path / "out/earlier").exists()
    assert (tmp_path / "out/weights.safetensors").exists()


@pytest.mark.usefixtures("no_report")
def test_fold_killed_between_two_renames_resumes(cells_folder, tmp_path, monkeypatch):
    """The newest checkpoint has become the previous one, and the next one has not yet its name."""
    stop_after(2, monkeypatch)
    assert run.main(["--data", str(cells_folder), "--out", str(tmp_path), *FOLDED]) == 130
    fold = tmp_path / "folds/1"
    (fold / "checkpoint.pt").rename(fold / "checkpoint-previous.pt")
    assert run.main(["--out", str(tmp_path), "--resume"]) == 0
    assert not (fold / "earlier").exists()
