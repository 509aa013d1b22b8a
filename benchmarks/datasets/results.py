"""Results of trainings: one JSON line each in a file, and the table made of them."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.datasets.scoring import HEADLINE, Reachable
from benchmarks.datasets.truth import Kind

_NAMES = {
    "dice": "Dice",
    "v_rand": "V_rand",
    "f1": "F1 at IoU 0.5",
    "mean_f1": "mean F1",
    "iou": "mean IoU",
}


@dataclass(frozen=True)
class Trial:
    """Identifies one training; a trial that has a result is not repeated.

    Attributes:
        set: Name of the set.
        trainer: Name of the trainer.
        seed: Seed of the training.
        minutes: Wall-clock time given.
        images: Number of training images, if it was limited; 0 for all.
    """

    set: str
    trainer: str
    seed: int
    minutes: float
    images: int = 0


@dataclass(frozen=True)
class Result:
    """One training with its scores.

    Attributes:
        trial: Which training.
        kind: Kind of the set's labels.
        scores: See `scoring.all_scores`.
        reachable: See `scoring.reachable`.
        training: `trainers.Trained` as a dictionary, and the numbers of training and test images.
        machine: Chip, cores, load and versions.
    """

    trial: Trial
    kind: Kind
    scores: dict[str, float]
    reachable: Reachable | None
    training: dict[str, Any]
    machine: dict[str, Any] = field(default_factory=dict)


class ResultsFile:
    """A file of results, one line of JSON each, to which every training is added when it has ended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Result]:
        """All results, oldest first; an incomplete last line, as a killed process leaves it, is ignored."""
        if not self._path.exists():
            return []
        text = self._path.read_text()
        return [_from_json(json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]

    def add(self, result: Result) -> None:
        """Appends one result; removes an incomplete last line first."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps(asdict(result)).encode() + b"\n")


def _from_json(values: dict[str, Any]) -> Result:
    reached = values.pop("reachable")
    return Result(trial=Trial(**values.pop("trial")), reachable=Reachable(**reached) if reached else None, **values)


def table(results: Iterable[Result]) -> str:
    """A Markdown table with a row for each set, time, number of images and trainer, averaged over the seeds.

    "±" is the standard deviation over the seeds. "reachable" is the best score at any threshold, and "share" the score
    at the trainer's own threshold divided by it.
    """
    lines = [
        "| set | trainer | seeds | score | Dice | Dice per image | more | reachable | share | steps | minutes |",
        "|---" * 11 + "|",
    ]
    ordered = sorted(results, key=_row_of)
    return "\n".join([*lines, *(_row(list(group)) for _, group in groupby(ordered, key=_row_of))])


def _row_of(result: Result) -> tuple[str, int, float, str]:
    trial = result.trial
    return trial.set, trial.images, trial.minutes, trial.trainer


def _row(results: Sequence[Result]) -> str:
    first = results[0]
    headline = HEADLINE[first.kind]
    more = [name for name in first.scores if name not in (headline, "dice", "dice_per_image")]
    limited = f", {first.trial.images} images" if first.trial.images else ""
    reached = [result.reachable for result in results if result.reachable]
    cells = [
        f"{first.trial.set}{limited}",
        first.trial.trainer,
        str(len(results)),
        f"{_NAMES[headline]} {_of(results, headline)}",
        _of(results, "dice"),
        _of(results, "dice_per_image"),
        ", ".join(f"{_NAMES[name]} {_of(results, name)}" for name in more),
        f"{_NAMES[reached[0].score]} {_spread([each.best for each in reached])}" if reached else "",
        _spread([each.ratio for each in reached]) if reached else "",
        f"{statistics.mean(result.training['steps'] for result in results):.0f}",
        f"{statistics.mean(result.training['seconds'] for result in results) / 60:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _of(results: Sequence[Result], score: str) -> str:
    return _spread([result.scores[score] for result in results])


def _spread(values: Sequence[float]) -> str:
    """The mean, with the standard deviation of several values."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean
