"""What a training left in its folder, gathered for the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.weights_file import Description
from training.charts import History
from training.class_scores import Confusion
from training.evaluation import ClassEvaluation, Evaluation
from training.scores import Scores


@dataclass(frozen=True)
class Facts:
    """What a training left, but for pictures. `evaluation`: of the kept weights, None without held-out images.

    `weights`: where they lie. `kept`: the step they are of; `steps`: how many were asked for.
    """

    config: dict[str, Any]
    history: History
    description: Description
    weights: Path
    kept: int
    steps: int
    evaluation: Evaluation | ClassEvaluation | None

    @property
    def last(self) -> int:
        """The last step that was checked."""
        return int(self.history[-1]["step"])

    @property
    def seconds(self) -> float:
        """How long it trained, to the last check."""
        return self.history[-1]["seconds"]

    @property
    def ranked(self) -> Sequence[tuple[str, Scores | Confusion]]:
        """Held-out images with their scores, of one class at the stored threshold; the worst first."""
        if isinstance(self.evaluation, Evaluation):
            return self.evaluation.ranked(self.description.threshold)
        return self.evaluation.ranked() if self.evaluation else []
