"""The history as curves for TensorBoard, and pictures beside them.

TensorBoard's own writer writes in a thread. If a training is killed, the written part is unknown; on a full disk, the
thread ends with a traceback. This module writes all entries of a check at once.
"""

import io
import os
import socket
import time
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import image, scalar


class Curves:
    """Appends to a folder of event files, in a file of its own that the first `write` makes."""

    def __init__(self, folder: Path) -> None:
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / name
        self._waiting = [Event(wall_time=time.time(), file_version="brain.Event:2")]

    def go_on_from(self, step: int) -> None:
        """Hides what earlier files hold of this step and later ones, which are made again."""
        self._waiting.append(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def show(self, step: int, name: str, picture: np.ndarray) -> None:
        """A picture (H x W uint8), to be written with the step's values."""
        self._add(step, image(name, picture, dataformats="HW"))  # type: ignore[no-untyped-call]

    def write(self, step: int, values: dict[str, float]) -> None:
        """A point on each curve, and the pictures shown since. Raises OSError."""
        for name, value in values.items():
            self._add(step, scalar(name, value))  # type: ignore[no-untyped-call]
        records = io.BytesIO()
        for event in self._waiting:
            RecordWriter(records).write(event.SerializeToString())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(records.getvalue())
        self._waiting.clear()

    def _add(self, step: int, summary: Summary) -> None:
        self._waiting.append(Event(wall_time=time.time(), step=step, summary=summary))
