"""How far a training has come: all of it but the net and its optimizer."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from pydantic import JsonValue
from torch import Tensor

from training.run_folder import Row


@dataclass
class Best:
    """The weights kept so far. `score`: higher is better (V_rand or mean Dice, minus the loss, or the step)."""

    score: float = -math.inf
    step: int = 0
    threshold: float = 0.5
    scores: dict[str, JsonValue] | None = None


@dataclass
class Progress:
    """`checked`: the step of the last check. `losses`: those since then. `seconds`: of all its parts together."""

    step: int = 0
    seconds: float = 0.0
    checked: int = 0
    losses: list[float] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    best_weights: dict[str, Tensor] | None = None
    checks_since_best: int = 0
    history: list[Row] = field(default_factory=list)

    def keep(self, best: Best, weights: dict[str, Tensor]) -> None:
        """Takes copies of the weights."""
        self.best, self.checks_since_best = best, 0
        self.best_weights = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def state(self) -> dict[str, Any]:
        """For a checkpoint: plain values and tensors."""
        return vars(self) | {"best": vars(self.best)}

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Progress":
        """What `state` gave, perhaps among other things."""
        mine = {part.name: state[part.name] for part in fields(cls)}
        return cls(**mine | {"best": Best(**state["best"])})
