"""Stops trainings in this process."""

import signal
from typing import Any

import pytest

from training.loop import trainer


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the step, once."""
    train_step = trainer.Trainer._train_step

    def interrupted(self: trainer.Trainer, batch: Any) -> None:
        train_step(self, batch)
        if self.step == step:
            monkeypatch.setattr(trainer.Trainer, "_train_step", train_step)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(trainer.Trainer, "_train_step", interrupted)
