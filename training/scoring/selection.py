"""The choice of the weights that a training keeps, check by check."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from training.scoring.tally import NEAR_TIE, Tally

if TYPE_CHECKING:
    from training.scoring.class_evaluation import AnyEvaluation

# With at most this many held-out images, the loss counts as much as the score.
FEW_IMAGES = 3

# The last check's weights are those that the schedule was made for: twice the margin in their favour.
LAST_CHECK = 2.0

# Ranks of results without a score: all or nothing found, and a score that no label defines.
DEGENERATE, UNDEFINED = -1.0, 0.0


@dataclass(frozen=True)
class Verdict:
    """The quality of weights at a check.

    Attributes:
        rank: Higher is better: the objective's score; with few images the mean of the score and of exp(-loss), the
            geometric mean of the probabilities that the net gives the right side; `DEGENERATE` or `UNDEFINED`.
        tally: The score as sums over the images, for the standard error of differences; None with few images.
    """

    rank: float
    tally: Tally | None = None

    @classmethod
    def of(cls, evaluation: "AnyEvaluation", images: int) -> "Verdict":
        """Judges the scores of a number of images."""
        score = evaluation.score()
        if evaluation.is_degenerate:
            return cls(DEGENERATE)
        if math.isnan(score):
            return cls(UNDEFINED)
        if images <= FEW_IMAGES:
            return cls((score + math.exp(-evaluation.loss)) / 2)
        return cls(score, evaluation.tally())


@dataclass
class Peak:
    """The best verdict so far, in plain numbers for a checkpoint.

    Attributes:
        rank: As of `Verdict`.
        numerators: N x K, as of `Tally`; empty without one.
        denominators: N x K, as of `Tally`; empty without one.
    """

    rank: float = -math.inf
    numerators: list[list[float]] = field(default_factory=list)
    denominators: list[list[float]] = field(default_factory=list)

    @classmethod
    def of(cls, verdict: Verdict) -> "Peak":
        """Returns a verdict as a peak."""
        if verdict.tally is None:
            return cls(verdict.rank)
        return cls(verdict.rank, verdict.tally.numerators.tolist(), verdict.tally.denominators.tolist())

    def is_equalled_by(self, verdict: Verdict, *, is_last: bool) -> bool:
        """Reports whether weights are as good as the best so far, within the margin of chance.

        Later weights that are as good as the best replace the weights kept so far. Since each is compared with the
        best, and not with the kept ones, a slow decline is not followed.
        """
        if verdict.rank == DEGENERATE:
            return self.rank <= DEGENERATE
        margin = NEAR_TIE
        if verdict.tally is not None and self.numerators:
            best = Tally(np.array(self.numerators), np.array(self.denominators))
            margin = float(verdict.tally.margin(best))
        return verdict.rank >= self.rank - margin * (LAST_CHECK if is_last else 1)
