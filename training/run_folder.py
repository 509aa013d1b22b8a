"""What a training leaves in its folder, and reading it back.

weights.safetensors   the best weights so far, ready to be served
checkpoint.pt         all that `--resume` needs
config.json           recipe, seed, data: what made them
history.csv           one row a check: loss, learning rate, scores
tensorboard/          the same as curves, and pictures
report.html           all of it for people: see report.py
"""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from training.data import DataError

WEIGHTS = "weights.safetensors"
CHECKPOINT = "checkpoint.pt"
CONFIG = "config.json"
HISTORY = "history.csv"
CURVES = "tensorboard"
REPORT = "report.html"


class RunFolder:
    """One training's folder. An earlier training in it is moved to `earlier/`, never overwritten."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        """Raises OSError if the folder cannot be written to, DataError if there is none to resume in."""
        self.path = path
        if not resume:
            path.mkdir(parents=True, exist_ok=True)
            self._put_aside()
        elif not path.is_dir():
            raise DataError(f"nothing to resume: no folder {path}")
        self._curves: SummaryWriter | None = None

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS

    @property
    def report(self) -> Path:
        return self.path / REPORT

    def write_config(self, config: dict[str, Any]) -> None:
        (self.path / CONFIG).write_text(json.dumps(config, indent=1) + "\n")

    def read_config(self) -> dict[str, Any]:
        """What `write_config` wrote. Raises DataError if it is not there or cannot be read."""
        path = self.path / CONFIG
        try:
            config: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: missing or broken; is {self.path} the folder of a training?") from error
        return config

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Whole or not at all: a training killed while it writes keeps the checkpoint before."""
        unfinished = self.path / f".{CHECKPOINT}.tmp"
        with unfinished.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # what torch makes of a full disk
                raise OSError(f"{unfinished}: cannot be written: {error}") from error
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path / CHECKPOINT)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint's state, None if there is none yet. Raises DataError if it cannot be read."""
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch's reader raises nearly anything
            raise DataError(f"{path}: broken or truncated; train afresh, without --resume") from error
        return state

    def record(self, step: int, row: dict[str, float]) -> None:
        """Adds a row to the history and a point to each curve. Every row has the same columns."""
        path = self.path / HISTORY
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, ["step", *row])
            if fresh:
                writer.writeheader()
            writer.writerow({"step": step, **{name: f"{value:.6g}" for name, value in row.items()}})
        for name, value in row.items():
            self.curves.add_scalar(name, value, step)
        self.curves.flush()

    def show(self, step: int, name: str, picture: np.ndarray) -> None:
        """Puts a picture (H x W uint8) beside the curves."""
        self.curves.add_image(name, picture, step, dataformats="HW")

    @property
    def curves(self) -> SummaryWriter:
        if self._curves is None:
            self._curves = SummaryWriter(str(self.path / CURVES))
        return self._curves

    def _put_aside(self) -> None:
        names = (WEIGHTS, CHECKPOINT, CONFIG, HISTORY, CURVES, REPORT)
        left = [self.path / name for name in names if (self.path / name).exists()]
        if not left:
            return
        earlier = self.path / "earlier"
        number = 1 + max((int(old.name) for old in earlier.glob("*") if old.name.isdecimal()), default=0)
        (earlier / str(number)).mkdir(parents=True)
        for old in left:
            old.rename(earlier / str(number) / old.name)


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a `history.csv`, oldest first; of a step checked twice (before and after a kill), the later row.

    Raises DataError if there is no such file or it holds something else than numbers.
    """
    try:
        with path.open(newline="") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: missing or broken: {error}") from error
    return list({row["step"]: row for row in rows}.values())
