"""Files that are there whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Writes to a hidden temporary name beside it first, which is then renamed; makes the folder if need be.

    Raises OSError if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = stage(path, data)
    try:
        publish(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def stage(path: Path, data: bytes) -> Path:
    """Writes a hidden temporary file beside a path, so that `publish` can rename it.

    The name is unique: two writers of one path, even in containers with equal process ids, never share a file.

    Returns:
        The temporary file, which is on the disk.

    Raises:
        OSError: The file cannot be written; nothing remains of it.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with unfinished.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    return unfinished


def publish(unfinished: Path, path: Path) -> None:
    """Renames a file of `stage` to its path, which may exist. Raises OSError."""
    unfinished.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames in it outlast a power cut, where that can be asked for (not on Windows and some network disks)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
