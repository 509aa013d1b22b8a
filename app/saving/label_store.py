"""The folder of saved labels, in the layout that `training.run` reads.

    image/ID.png                   the image as it was sent, with the suffix of its format
    label/ID.png                   the label that was saved last
    history/ID-TIME-TOKEN.png      each label that was saved, the last one included
    provenance/ID-TIME-TOKEN.json  who saved that label, when, and which weights were served

All names are made here; no text of a client becomes a part of a path. Only `label/ID.png` is ever replaced by other
content, and by a rename. Each save writes its own files in `history/` and `provenance/`. So several processes may write
into one folder, and a process may be killed at any moment: all files are whole, and each answered save is in
`history/`.
"""

import asyncio
import contextlib
import json
import logging
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from app.metrics import Metrics
from app.saving.checked_pair import CheckedPair
from app.settings import Settings, SettingsError
from model.atomic_write import publish, stage

log = logging.getLogger(__name__)

IMAGES, LABELS, HISTORY, PROVENANCE = FOLDERS = ("image", "label", "history", "provenance")

# A file counts at least as many bytes as a block of common file systems, so that tiny files are limited also.
BLOCK = 4096

# Temporary files and images without a label are what a killed process left if they are older; another process may be
# writing younger ones.
ABANDONED_S = 3600.0

_OWN_NAME = re.compile(r"[0-9a-f]{32}\.[a-z]+")


class StoreFull(Exception):
    """The limits of the folder leave no space for a pair; the message names the limit."""


@dataclass(frozen=True)
class Saved:
    """A pair that is on the disk.

    Attributes:
        id: Name of the pair, the same for each label of the image.
        outcome: "saved", "replaced" if the image had another label, or "unchanged" if it had this label.
        pairs: Number of pairs in the folder.
    """

    id: str
    outcome: str
    pairs: int


class LabelStore:
    """Writes pairs, one after another, in a thread of its own. Counts pairs and bytes once, at the start."""

    def __init__(self, folder: Path, max_pairs: int, max_bytes: int, metrics: Metrics) -> None:
        """Makes the folders, and removes what a killed process left.

        Raises:
            OSError: The folder cannot be written to.
        """
        self._folder, self._max_pairs, self._max_bytes = folder, max_pairs, max_bytes
        self._outcomes = metrics.labels
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
            stage(folder / name / "probe", b"").unlink()
        self._remove_abandoned()
        self.pairs = sum(1 for path in _files(folder / LABELS))
        self.bytes = sum(_cost(_size_of(path)) for name in FOLDERS for path in _files(folder / name))
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="labels")

    async def save(self, pair: CheckedPair, provenance: Mapping[str, JsonValue]) -> Saved:
        """Stores a pair. The label replaces an earlier one of the same image; a label that is there already stays.

        Args:
            pair: The files.
            provenance: What is known of the label; id, time and files are added.

        Raises:
            StoreFull: The limits leave no space.
            OSError: The disk is full, or the folder cannot be written to. Nothing of the pair remains.
        """
        try:
            saved = await asyncio.get_running_loop().run_in_executor(self._writer, self._save, pair, provenance)
        except (StoreFull, OSError):
            self._outcomes.labels("refused").inc()
            raise
        self._outcomes.labels(saved.outcome).inc()
        return saved

    def close(self) -> None:
        """Waits for the pair that is being written."""
        self._writer.shutdown()

    def _save(self, pair: CheckedPair, provenance: Mapping[str, JsonValue]) -> Saved:
        image = self._folder / IMAGES / f"{pair.id}{pair.suffix}"
        label = self._folder / LABELS / f"{pair.id}.png"
        earlier = label.read_bytes() if label.exists() else None
        if earlier == pair.label and image.exists():
            return Saved(pair.id, "unchanged", self.pairs)
        now = datetime.now(UTC)
        save = f"{pair.id}-{now:%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"
        record = {"id": pair.id, "time": now.isoformat(), **provenance, **pair.record()}
        files = {
            self._folder / HISTORY / f"{save}.png": pair.label,
            self._folder / PROVENANCE / f"{save}.json": (json.dumps(record, indent=1) + "\n").encode(),
            **({image: pair.image} if earlier is None or not image.exists() else {}),
            label: pair.label,
        }
        grown = sum(_cost(len(data)) for data in files.values())
        grown -= 0 if earlier is None else _cost(len(earlier))
        self._check_limits(grown, new=earlier is None)
        _write_all(files)
        self.bytes += grown
        self.pairs += earlier is None
        return Saved(pair.id, "saved" if earlier is None else "replaced", self.pairs)

    def _check_limits(self, grown: int, *, new: bool) -> None:
        """Raises StoreFull."""
        if new and self.pairs >= self._max_pairs:
            raise StoreFull(f"SEGMENT_MAX_LABELS allows {self._max_pairs} pairs")
        if self.bytes + grown > self._max_bytes:
            raise StoreFull(f"SEGMENT_MAX_LABELS_BYTES allows {self._max_bytes} bytes")

    def _remove_abandoned(self) -> None:
        """Removes old temporary files, and old images of this store that never got their label."""
        labelled = {path.stem for path in _files(self._folder / LABELS)}
        left = [path for name in FOLDERS for path in (self._folder / name).glob(".*.tmp")]
        own = (path for path in _files(self._folder / IMAGES) if _OWN_NAME.fullmatch(path.name))
        left += [path for path in own if path.stem not in labelled]
        for path in left:
            with contextlib.suppress(FileNotFoundError):  # another process may remove it also
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink()


def open_store(settings: Settings, metrics: Metrics) -> LabelStore | None:
    """Returns the store of SEGMENT_LABELS, or None if saving is off. Raises SettingsError."""
    if settings.labels is None:
        return None
    try:
        store = LabelStore(settings.labels, settings.max_labels, settings.max_labels_bytes, metrics)
    except OSError as error:
        problem = f"the folder cannot be written to ({error.strerror})"
        raise SettingsError(f"SEGMENT_LABELS={settings.labels}: {problem}") from error
    found = {"folder": settings.labels, "pairs": store.pairs, "bytes": store.bytes}
    log.info("labels", extra={"fields": found})
    return store


def _write_all(files: Mapping[Path, bytes]) -> None:
    """Writes all files, or none: the data are on the disk before the first rename. The last rename decides.

    If a rename fails, an image that has its name already stays, because another process may have saved its label.
    Training ignores images without labels.

    Raises OSError.
    """
    staged = dict[Path, Path]()
    published = list[Path]()
    try:
        for path, data in files.items():
            staged[path] = stage(path, data)
        for path, unfinished in staged.items():
            publish(unfinished, path)
            published.append(path)
    except OSError:
        for path in (*staged.values(), *(path for path in published if path.parent.name != IMAGES)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        raise


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def _size_of(path: Path) -> int:
    """Returns the size of a file in bytes, or 0 if another process has just removed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _cost(size: int) -> int:
    """Returns the bytes that a file of this size takes, in whole blocks."""
    return max(1, -(-size // BLOCK)) * BLOCK
