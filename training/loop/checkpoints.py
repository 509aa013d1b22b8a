"""A training's checkpoints: all that `--resume` needs.

The last two are kept. If the newest cannot be read, the one before costs minutes, not the training.
"""

import io
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import torch

from model.atomic_write import sync_folder, write_whole
from training.data_error import DataError
from training.loop.progress import Progress
from training.loop.run_folder import CHECKPOINT, NEXT_CHECKPOINT, PREVIOUS_CHECKPOINT

State = dict[str, Any]

KEYS = {"learner", "parts", "recipe", "trained", *(part.name for part in fields(Progress))}


class Checkpoints:
    """The checkpoints of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._newest, self._previous = folder / CHECKPOINT, folder / PREVIOUS_CHECKPOINT
        self._saved = False

    def save(self, state: State) -> None:
        """Whole or not at all: killed at any moment, or out of space, the ones before can be read. Raises OSError."""
        buffer = io.BytesIO()  # torch, writing to the file itself, would make a full disk a RuntimeError
        torch.save(state, buffer)
        unfinished = self._folder / NEXT_CHECKPOINT
        write_whole(unfinished, buffer.getvalue())
        # the first one after resuming is of the step resumed from: it takes the place of the newest, readable or not
        if self._saved:
            self._newest.replace(self._previous)
        unfinished.replace(self._newest)
        sync_folder(self._folder)
        self._saved = True

    def load(self) -> tuple[State | None, str]:
        """The newest state that can be read, None if there is none yet; and what was wrong with a newer one, or "".

        Raises DataError if there are some and none can be read.
        """
        problems: list[str] = []
        for path in (self._newest, self._previous):
            if not path.exists():
                continue
            try:
                return read_checkpoint(path), "".join(problems)
            except DataError as error:
                problems.append(str(error))
        if problems:
            raise DataError(f"{'; '.join(problems)}; train afresh, without --resume")
        return None, ""


def read_checkpoint(path: Path) -> State:
    """Tensors are on the CPU. Raises DataError if it is damaged or of another version."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip():  # torch itself does not compare checksums
                raise zipfile.BadZipFile("a checksum differs")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises nearly anything
        raise DataError(f"{path}: broken or truncated") from error
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise DataError(f"{path}: of another version")
    return cast(State, state)
