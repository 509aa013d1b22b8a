"""`--folds K`: K trainings that each hold out another part of the images, then one on all images.

Every image is scored by weights that were not trained on it. The threshold that is best on these out-of-fold
probabilities is stored with the final weights.
"""

import json
import shlex
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import JsonValue

from model.atomic_write import write_whole
from model.segmenter import Segmenter
from training.data.folder import Sample
from training.data.holdout import HoldOut, make_folds
from training.data_error import DataError
from training.distributed.processes import Processes
from training.loop.clock import Clock
from training.loop.run_folder import CHECKPOINT, CONFIG, FOLDS, PREVIOUS_CHECKPOINT, RunFolder
from training.run import job
from training.run.preparation import PartialTraining, prepare
from training.run.training_options import TrainingOptions
from training.scoring.class_evaluation import AnyEvaluation, ClassEvaluation
from training.scoring.evaluation import defined
from training.scoring.measures import Measures
from training.scoring.objective import OBJECTIVE_NAMES, Objective, resolve_objective
from training.scoring.prediction_scoring import evaluate_classes, evaluate_predictions, predictor

SCORES = "scores.json"

# Every evaluation includes one stored threshold; before the best one is known, this adds no new one.
_NEUTRAL = 0.5


@dataclass(frozen=True, eq=False)
class Fold:
    """A finished training: its weights, and the samples that it has not seen."""

    weights: Path
    samples: list[Sample]


def train(options: TrainingOptions, samples: list[Sample], processes: Processes, clock: Clock) -> int:
    """Trains all folds, scores them together, and trains the final weights; returns the exit code.

    With `--resume`, finished folds are kept, and the interrupted training continues. Raises DataError, EngineError,
    WeightsError, TooLittleMemory, OSError.
    """
    splits = processes.each(lambda: make_folds(samples, options.folds or 0, options.group))
    options = replace(options, resume=processes.on_main(lambda: _continues(options)))
    if options.minutes:  # loading is inside
        left = options.minutes - processes.from_main(clock.seconds) / 60
        options = replace(options, minutes=max(0.01, left))
    try:
        return _train_all(options, samples, splits, processes)
    except KeyboardInterrupt:  # between two trainings
        processes.say(f"training: stopped; --resume continues from {options.out}", file=sys.stderr)
        return 130


def _train_all(
    options: TrainingOptions,
    samples: list[Sample],
    splits: list[HoldOut],
    processes: Processes,
) -> int:
    first, folds, folder = None, [], RunFolder(options.out)
    if options.resume and options.init:
        options = replace(options, init=folder.kept_init(options.init))
    for number, split in enumerate(splits, start=1):
        mine = _options_of(options, folder.path / FOLDS / str(number))
        notes: dict[str, JsonValue] = {"fold": f"{number} of {len(splits)}"}
        begins = None if options.resume or first else partial(_begin, folder, options)
        trainer = prepare(mine, samples, processes, part=PartialTraining(split, notes, like=first, before=begins))
        if begins and options.init:
            options = replace(options, init=folder.kept_init(options.init))
        if code := job.complete(trainer, options.out):
            return code
        folds.append(Fold(trainer.folder.weights, split.validation))
        first = first or trainer
    device = str(trainer.machine.device)
    objective, _ = resolve_objective(options.select, samples, options.scheme.classes)
    record = processes.on_main(lambda: _scored(folder.path / FOLDS / SCORES, folds, device, objective))
    threshold = record.get("threshold")
    final = replace(
        _options_of(options, options.out),
        threshold=threshold if isinstance(threshold, float) else None,
        select=None,
    )
    everything = HoldOut("nothing", "held out: no images, the folds are scored already", samples, [], {})
    trainer = prepare(final, samples, processes, part=PartialTraining(everything, {"folds": record}, folder, first))
    return job.complete(trainer, options.out)


def _options_of(options: TrainingOptions, out: Path) -> TrainingOptions:
    """The options of one of the K + 1 trainings: its folder, its share of `--minutes`."""
    return replace(
        options,
        out=out,
        minutes=options.minutes and options.minutes / ((options.folds or 0) + 1),
        resume=options.resume and any((out / name).exists() for name in (CHECKPOINT, PREVIOUS_CHECKPOINT)),
    )


def _continues(options: TrainingOptions) -> bool:
    """Returns True if a training with folds is resumed in the folder, which is then occupied.

    Raises DataError if something else was trained there, OSError.
    """
    folder = RunFolder(options.out)
    if not options.resume or not (folder.path / CONFIG).exists() or folder.is_being_put_aside:
        return False
    config = folder.read_config()
    if "fold" in config:
        of = folder.path.parents[1]
        raise DataError(f"--resume: {folder.path} is fold {config['fold']} of a training with --folds; resume {of}")
    if "folds" not in config:
        path = folder.path
        raise DataError(f"--resume: the training in {path} has no --folds; resume without --folds, or train afresh")
    folder.occupy()
    return True


def _begin(folder: RunFolder, options: TrainingOptions) -> None:
    """Begins in the folder and notes the command there, so that `--resume` finds it. Raises DataError, OSError."""
    folder.begin(options.init)
    command = shlex.join(["python", "-m", "training.run", *options.command_line])
    folder.write_config(
        {"command": command, "data": [str(path) for path in options.data], "folds": {"count": options.folds}}
    )


def _scored(path: Path, folds: list[Fold], device: str, objective: Objective) -> dict[str, JsonValue]:
    """Summary of the out-of-fold scores for the weights file; computed once, later read from `scores.json`.

    Returns:
        `count` of folds, number of `images`, name of the `measure`, its `score`, all `scores`, and, of one class, the
        best `threshold`, and the medians of the folds' `seed_depth` and `min_area` if objects have seeds.
    """
    if path.exists():
        return cast(dict[str, JsonValue], json.loads(path.read_text())["summary"])
    summary, images = _score(folds, device, objective)
    write_whole(path, (json.dumps({"summary": summary, **images}, indent=1) + "\n").encode())
    return summary


def _score(folds: list[Fold], device: str, objective: Objective) -> tuple[dict[str, JsonValue], dict[str, Any]]:
    """Scores all samples together, each by the weights of its fold: (summary, scores by image)."""
    segmenters = {sample.name: segmenter for sample, segmenter in _pairs(folds, device)}
    samples = [sample for fold in folds for sample in fold.samples]
    description = next(iter(segmenters.values())).description
    evaluation: AnyEvaluation
    details: dict[str, Any]
    found: dict[str, JsonValue] = {}
    if description.architecture.classes > 1:
        parts = [evaluate_classes(segmenters[fold.samples[0].name], fold.samples) for fold in folds]
        images = {name: confusion for part in parts for name, confusion in part.images.items()}
        evaluation = ClassEvaluation(images, broken=tuple(name for part in parts for name in part.broken))
        details = evaluation.to_json()
    else:
        rules = [segmenter.description.object_rule for segmenter in segmenters.values()]
        depths = [rule.seed_depth for rule in rules if rule.seed_depth is not None]
        area = int(np.median([rule.min_area for rule in rules]))
        rule = replace(rules[0], seed_depth=float(np.median(depths)), min_area=area) if depths else rules[0]
        measures = Measures.suited_to(samples, objective, rule)
        predict = {name: predictor(segmenter) for name, segmenter in segmenters.items()}
        evaluation = evaluate_predictions(lambda sample: predict[sample.name](sample), _NEUTRAL, samples, measures)
        details, found = evaluation.to_json(_NEUTRAL), {"threshold": evaluation.threshold}
        found |= {"seed_depth": rule.seed_depth, "min_area": rule.min_area} if depths else {}
    summary: dict[str, JsonValue] = {
        "count": len(folds),
        "images": len(samples),
        "measure": OBJECTIVE_NAMES[evaluation.objective],
        "score": evaluation.score(),
        "scores": {**defined(evaluation.summary())},
        **found,
    }
    return summary, details


def _pairs(folds: list[Fold], device: str) -> list[tuple[Sample, Segmenter]]:
    loaded = [Segmenter.load(fold.weights, device=device) for fold in folds]
    return [(sample, segmenter) for fold, segmenter in zip(folds, loaded, strict=True) for sample in fold.samples]
