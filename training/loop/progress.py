"""The progress of a training: all of its state except the net and the optimizer."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from pydantic import JsonValue
from torch import Tensor

from training.loop.run_folder import Row
from training.scoring.selection import Peak


@dataclass
class Best:
    """The weights kept so far.

    Attributes:
        score: The objective's score, minus the loss for the tutorial's recipe, or the step without held-out images.
        step: The step that the weights are of.
        threshold: The threshold to store with the weights.
        seed_depth: The seed depth to store with the weights; None to keep the description's own.
        min_area: The area of the smallest objects to store with the weights; None to keep the description's own.
        scores: All scores at the threshold; None if no images are held out.
        plateau: The thresholds that score as well; None for several classes and without scores.
        failures: Why the weights must not be trusted.
        warnings: What else a user of the weights should know.
    """

    score: float = -math.inf
    step: int = 0
    threshold: float = 0.5
    seed_depth: float | None = None
    min_area: int | None = None
    scores: dict[str, JsonValue] | None = None
    plateau: list[float] | None = None
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Progress:
    """The state of a training.

    Attributes:
        step: Steps done.
        position: Position in the schedule, 0 to the planned number of steps; see `training.loop.schedule`.
        seconds: Seconds since the start of the command, of all parts together if the training was resumed.
        next_check: Position of the next check; 0 until checks are planned.
        check_seconds: Seconds of the last check with its checkpoint.
        save_seconds: Seconds of the last checkpoint.
        final_seconds: Seconds by which the last check's slower scores take longer, estimated by a trial.
        checked: The step of the last check.
        losses: Training losses since the last check.
        best: The weights kept so far, described.
        best_weights: The weights kept so far.
        peak: The best verdict so far; the weights kept may be later ones that equal it.
        checks_since_best: Checks since the peak rose.
        history: One row a check.
    """

    step: int = 0
    position: float = 0.0
    seconds: float = 0.0
    next_check: float = 0.0
    check_seconds: float = 0.0
    save_seconds: float = 0.0
    final_seconds: float = 0.0
    checked: int = 0
    losses: list[float] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    best_weights: dict[str, Tensor] | None = None
    peak: Peak = field(default_factory=Peak)
    checks_since_best: int = 0
    history: list[Row] = field(default_factory=list)

    def keep(self, best: Best, weights: dict[str, Tensor]) -> None:
        """Keeps copies of the weights."""
        self.best = best
        self.best_weights = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def state(self) -> dict[str, Any]:
        """Returns plain values and tensors for a checkpoint."""
        return vars(self) | {"best": vars(self.best), "peak": vars(self.peak)}

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Progress":
        """Restores what `state` returned; other entries are ignored."""
        mine = {part.name: state[part.name] for part in fields(cls)}
        return cls(**mine | {"best": Best(**state["best"]), "peak": Peak(**state["peak"])})
