"""The weights files that `SEGMENT_WEIGHTS` points to, and their state on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from model.weights_file import SUFFIXES

Stamp: TypeAlias = tuple[int, int, int]
"""Time of the last change in ns, bytes, and inode of a file; zeros if there is no file."""


@dataclass(frozen=True)
class FileState:
    """A weights file at one time. If two states are equal, no program has written to the file between them.

    Attributes:
        path: The file.
        stamps: The state of the file, and of the `.bin` beside an `.xml`.
    """

    path: Path
    stamps: tuple[Stamp, ...]

    @classmethod
    def read(cls, path: Path) -> "FileState":
        """Reads the state, but not the file. Raises OSError, except for files that do not exist."""
        files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
        return cls(path, tuple(_stamp(file) for file in files))

    @property
    def exists(self) -> bool:
        return self.stamps[0] != _NO_FILE


_NO_FILE: Stamp = (0, 0, 0)


def list_weights(folder: Path) -> list[Path]:
    """Lists the weights files directly in a folder, newest first, without hidden ones. Raises OSError."""
    found = [path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name[0] != "."]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def list_states(source: Path) -> list[FileState]:
    """Lists the states of a file, or of the weights files in a folder, newest first; [] if there is none.

    Raises OSError.
    """
    states = [FileState.read(path) for path in (list_weights(source) if source.is_dir() else [source])]
    return [state for state in states if state.exists]


def _stamp(file: Path) -> Stamp:
    try:
        status = file.stat()
    except FileNotFoundError:
        return _NO_FILE
    return status.st_mtime_ns, status.st_size, status.st_ino
