"""Scores of masks of several classes on labelled images.

Shape letters: K classes, H height, W width.
"""

import math
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TypeAlias

import numpy as np

from training.scoring.class_scores import Confusion
from training.scoring.degenerate import chance_finding, constant_finding
from training.scoring.evaluation import Evaluation, broken_finding, defined, or_infinite
from training.scoring.objective import Objective
from training.scoring.tally import Tally


@dataclass(frozen=True)
class ClassEvaluation:
    """Scores of a net of several classes.

    Attributes:
        images: Confusions by name of the image.
        loss: Mean cross-entropy of a counted pixel, natural logarithm.
        broken: Names of images whose probabilities are not all finite.
    """

    images: dict[str, Confusion]
    loss: float = math.nan
    broken: tuple[str, ...] = ()
    objective: Objective = "mean_dice"

    def ranked(self) -> list[tuple[str, Confusion]]:
        """Returns images with their confusions, the worst mean Dice first."""
        return sorted(self.images.items(), key=lambda entry: or_infinite(entry[1].mean_dice))

    @property
    def total(self) -> Confusion:
        """All images together, so that a class counts where it is."""
        return reduce(add, self.images.values())

    def tally(self) -> Tally:
        """Returns the mean Dice of the labelled foreground classes as sums over the images."""
        classes = self.total.foreground
        confusions = list(self.images.values())
        numerators = [[2 * each.pixels[index, index] for index in classes] for each in confusions]
        denominators = [[each.areas(index) for index in classes] for each in confusions]
        return Tally(np.array(numerators, np.float64), np.array(denominators, np.float64))

    def score(self) -> float:
        """Returns the mean Dice of the labelled foreground classes; NaN without any pixel."""
        return self.total.mean_dice

    @property
    def is_degenerate(self) -> bool:
        """Reports whether a single class is found in all images although the labels have several."""
        return len(self._found) == 1 and len(self.total.labelled) > 1

    def failures(self) -> list[str]:
        """Returns why the result must not be trusted; empty if it may be."""
        if self.broken:
            return [broken_finding(self.broken)]
        if self.is_degenerate:
            return [f"class {self._found[0]} is found everywhere in all {len(self.images)} images"]
        return [finding for finding in (self._constant_finding(), self._chance_finding()) if finding]

    def warnings(self) -> list[str]:
        """Returns what else a reader should know."""
        only_background = not any(self.total.labelled)
        return ["no held-out label has any foreground class"] if only_background else []

    def summary(self) -> dict[str, float]:
        """Returns the scores of all images together and the loss, the mean Dice first."""
        return {**self.total.scores(), "validation_loss": self.loss}

    def to_json(self) -> dict[str, object]:
        """Returns everything for `json.dumps`; scores that are undefined are left out."""
        images = {name: defined(confusion.scores()) for name, confusion in self.images.items()}
        findings = {"failures": self.failures(), "warnings": self.warnings()}
        return {"objective": self.objective, "images": images, "all": defined(self.total.scores()), **findings}

    @property
    def _found(self) -> list[int]:
        return [int(index) for index in np.flatnonzero(self.total.pixels.sum(axis=0))]

    def _constant_finding(self) -> str:
        total = self.total
        best = max(total.foreground, key=lambda index: total.labelled.get(index, 0))
        share = total.labelled.get(best, 0)
        constant = 2 * share / (1 + share) / len(total.foreground)
        return constant_finding("mean Dice", self.score(), constant, f"that is all class {best}")

    def _chance_finding(self) -> str:
        """A finding only if chance explains every labelled foreground class."""
        pixels = self.total.pixels
        findings = [
            chance_finding(
                int(pixels[index, index]), int(pixels[:, index].sum()), int(pixels[index].sum()), int(pixels.sum())
            )
            for index in self.total.foreground
        ]
        return findings[0] if all(findings) else ""


AnyEvaluation: TypeAlias = Evaluation | ClassEvaluation
