"""The findings of a report: everything that a training left in its folder, and the warnings that follow from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.weights_file import Description
from training.data.holdout import out_of_fold
from training.report.charts import History
from training.scoring.class_evaluation import AnyEvaluation
from training.scoring.class_scores import Confusion
from training.scoring.degenerate import first_check_finding
from training.scoring.evaluation import Evaluation
from training.scoring.objective import OBJECTIVE_NAMES

FEW_IMAGES = 3  # fewer held-out images than this say little
NOTABLE = 0.01  # a difference of scores worth a warning

ImageResult = Mapping[str, float] | Confusion


@dataclass(frozen=True)
class Facts:
    """Everything a training left, except pictures.

    Attributes:
        config: What made the weights.
        history: One row a check.
        description: What the weights file says of itself.
        weights: Path of the weights file.
        kept: The step that the weights are of.
        steps: Steps that were asked for.
        evaluation: Scores of the kept weights; None without held-out images.
    """

    config: dict[str, Any]
    history: History
    description: Description
    weights: Path
    kept: int
    steps: int
    evaluation: AnyEvaluation | None

    @property
    def out_of_fold(self) -> str:
        """The out-of-fold score as a phrase; "" without `--folds`."""
        return out_of_fold(self.description.provenance)

    @property
    def last(self) -> int:
        """The last step that was checked."""
        return int(self.history[-1]["step"])

    @property
    def seconds(self) -> float:
        """Seconds of training up to the last check."""
        return self.history[-1]["seconds"]

    @property
    def ranked(self) -> Sequence[tuple[str, ImageResult]]:
        """Held-out images with their scores, the worst first; of one class at the stored threshold."""
        if isinstance(self.evaluation, Evaluation):
            return self.evaluation.ranked(self.description.threshold)
        return self.evaluation.ranked() if self.evaluation else []

    @property
    def failures(self) -> list[str]:
        """Why the weights must not be trusted; empty if they may be, or if nothing was measured."""
        if self.evaluation is None:
            return []
        if isinstance(self.evaluation, Evaluation):
            failures = self.evaluation.failures(self.description.threshold)
        else:
            failures = self.evaluation.failures()
        first = int(self.history[0]["step"])
        is_first = self.kept == first < self.last
        return [*failures, *([first_check_finding(first, self.steps)] if is_first else [])]


def find_warnings(facts: Facts) -> list[str]:
    """Returns what a reader should know before trusting the result, a sentence or two each, the gravest first."""
    found = [_sentence(failure) for failure in facts.failures]
    first, last = facts.history[0], facts.history[-1]
    if facts.last < facts.steps:
        why = {
            "no longer better": "the score was no longer getting better.",
        }.get(facts.config.get("ended", ""), "The same command with --resume continues the training.")
        found.append(f"The training was stopped, its last check was at step {facts.last} of {facts.steps}: {why}")
    if last["loss"] >= first["loss"] and len(facts.history) > 1:
        found.append(
            f"The training loss did not fall: {first['loss']:.4g} at step {first['step']:.0f}, {last['loss']:.4g} at "
            f"step {facts.last}. Do the labels belong to the images?"
        )
    if facts.evaluation:
        return found + _doubts(facts, facts.evaluation)
    score = facts.out_of_fold
    return [*found, f"{OUT_OF_FOLD} The weights themselves were {score}." if score else NOT_MEASURED]


OUT_OF_FOLD = (
    "No images were held out from these weights. "
    "The score comes from other weights, which were trained in the same way on fewer images; "
    "the folder folds/ has a report for each of them."
)

NOT_MEASURED = (
    "No images were held out, so nothing was measured: how well the weights do on new images is unknown. "
    "--val-fraction 0.2 holds out a fifth."
)


def _doubts(facts: Facts, evaluation: AnyEvaluation) -> list[str]:
    """Returns what is doubtful about the scores themselves."""
    found = []
    count = len(evaluation.images)
    if count < FEW_IMAGES:
        held_out = "1 image was" if count == 1 else f"{count} images were"
        found.append(f"Only {held_out} held out: on other images the scores may differ much.")
    if isinstance(evaluation, Evaluation):
        return found + _doubts_of_one_class(evaluation, facts.description.threshold)
    found += [_sentence(warning) for warning in evaluation.warnings()]
    missing = [name for index, name in facts.description.labels.items() if index not in evaluation.total.labelled]
    if missing:
        found.append(f"No held-out label has any {', '.join(missing)}: how well that is found is unknown.")
    return found


def _doubts_of_one_class(evaluation: Evaluation, stored: float) -> list[str]:
    found = [_sentence(warning) for warning in evaluation.warnings(stored)]
    gain = evaluation.score() - evaluation.score(stored)
    if gain > NOTABLE:
        found.append(
            f"At threshold {evaluation.threshold:g}, {OBJECTIVE_NAMES[evaluation.objective]} would be higher by "
            f"{gain:.3f} than at the stored threshold {stored:.3g}. A request may set `threshold`."
        )
    return found


def _sentence(phrase: str) -> str:
    """Returns a phrase with a capital and a full stop; `V_rand` and other names keep their first letter."""
    return f"{phrase[0].upper()}{phrase[1:]}" + ("" if phrase.endswith("?") else ".")
