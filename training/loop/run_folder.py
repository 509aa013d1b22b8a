"""The files of a training's folder, written and read.

checkpoint.pt           the state that `--resume` needs; checkpoint-previous.pt is the one before
weights.safetensors     the best weights so far, ready to be served
config.json             recipe, seed, data and command
history.csv             one row per check: loss, learning rate, scores
tensorboard/            the same as curves, and pictures
report.html             the report for people, see training.report
init.safetensors        the weights that the training started from, if they were in this folder
folds/                  with `--folds`: the folders of the single trainings, and the scores of all images

The checkpoint is written first. It contains everything that the weights and the history are made from. A resumed
training writes them again, so they agree with the checkpoint whenever the training was killed.
"""

import csv
import io
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from model.atomic_write import write_whole
from training.data_error import DataError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

WEIGHTS = "weights.safetensors"
CHECKPOINT, PREVIOUS_CHECKPOINT = "checkpoint.pt", "checkpoint-previous.pt"
NEXT_CHECKPOINT = "checkpoint-next.pt"  # there while it takes the others' place
CONFIG = "config.json"
HISTORY = "history.csv"
CURVES = "tensorboard"
REPORT = "report.html"
INIT = "init.safetensors"  # the weights of `--init`, if they were in this folder
FOLDS = "folds"  # folders 1, 2 ... of the trainings of `--folds`, and their scores
LOCK = ".lock"

NAMES = (CHECKPOINT, PREVIOUS_CHECKPOINT, WEIGHTS, CONFIG, HISTORY, CURVES, REPORT, FOLDS)

Row = dict[str, float]


class RunFolder:
    """The folder of one training."""

    def __init__(self, path: Path) -> None:
        """Touches nothing; `begin` prepares the folder for a new training."""
        self.path = path

    def begin(self, init: Path | None = None) -> "RunFolder":
        """Prepares the folder for a new training and returns it. An earlier training in it is moved to `earlier/`.

        Args:
            init: Weights that the new training starts from. If they would be moved, a copy is kept for `--resume`.

        Raises:
            DataError: Another process trains there.
            OSError: The folder cannot be written to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self.occupy()  # first: a training that was killed before its first checkpoint is not kept
        if init and self._puts_aside(init) and init.exists():
            write_whole(self.path / INIT, init.read_bytes())
        self._put_aside()
        return self

    def kept_init(self, init: Path) -> Path:
        """Returns the file to read the weights `init` from: the copy that `begin` kept, if there is one."""
        copy = self.path / INIT
        return copy if self._puts_aside(init) and copy.exists() else init

    def _puts_aside(self, path: Path) -> bool:
        """Returns True for a path that a new training moves to `earlier/`."""
        place = path.resolve()
        return any(place.is_relative_to((self.path / name).resolve()) for name in NAMES)

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS

    @property
    def report(self) -> Path:
        return self.path / REPORT

    @property
    def is_being_put_aside(self) -> bool:
        """True if a training was killed while it moved an earlier one to `earlier/`."""
        return self._unfinished.exists()

    def occupy(self) -> None:
        """Locks the folder and cleans it up. Raises DataError if another process trains there."""
        self.lock()
        self.clean()

    def lock(self) -> None:
        """Locks the folder until this process ends. Raises DataError if another process trains there."""
        if fcntl is None:
            return
        # never closed: that would give up the lock
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            os.close(descriptor)
            raise DataError(f"{self.path}: another process is training there") from error
        except OSError:  # a network disk without locks
            os.close(descriptor)

    def clean(self) -> None:
        """Removes the unfinished files of a killed training."""
        for name in (*NAMES, NEXT_CHECKPOINT):
            for left in self.path.glob(f".{name}.*.tmp"):
                left.unlink()
        (self.path / NEXT_CHECKPOINT).unlink(missing_ok=True)

    def write_config(self, config: dict[str, Any]) -> None:
        write_whole(self.path / CONFIG, (json.dumps(config, indent=1) + "\n").encode())

    def read_config(self) -> dict[str, Any]:
        """Reads the configuration. Raises DataError if it is missing or broken."""
        path = self.path / CONFIG
        try:
            config: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: missing or broken; is {self.path} the folder of a training?") from error
        return config

    def write_history(self, rows: list[Row]) -> None:
        """Writes all checks so far, oldest first, each with its `step` and the same columns."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, rows[0])
        writer.writeheader()
        writer.writerows(
            {name: int(value) if name == "step" else f"{value:.6g}" for name, value in row.items()} for row in rows
        )
        write_whole(self.path / HISTORY, text.getvalue().encode())

    @property
    def _unfinished(self) -> Path:
        return self.path / "earlier" / "unfinished"

    def _put_aside(self) -> None:
        """Moves files to `earlier/unfinished`, then renames that to `earlier/N`; resumes an interrupted move."""
        left = [self.path / name for name in NAMES if (self.path / name).exists()]
        if left:
            self._unfinished.mkdir(parents=True, exist_ok=True)
        for old in left:
            old.rename(self._unfinished / old.name)
        if self.is_being_put_aside:
            earlier = self._unfinished.parent
            number = 1 + max((int(old.name) for old in earlier.glob("*") if old.name.isdecimal()), default=0)
            self._unfinished.rename(earlier / str(number))


def read_history(path: Path) -> list[Row]:
    """Reads the rows of a `history.csv`, oldest first.

    An incomplete last line is ignored, because the file may be a copy. Raises DataError if the file is missing or holds
    anything but numbers.
    """
    try:
        with path.open(newline="") as file:
            whole = [line for line in file if line.endswith("\n")]
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(whole)]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: missing or broken: {error}") from error
