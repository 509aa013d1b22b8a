"""Everything a training left in its folder, gathered for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.weights_file import Description
from training.charts import History
from training.class_scores import Confusion
from training.evaluation import AnyEvaluation, Evaluation
from training.scoring.findings import first_check_finding

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
