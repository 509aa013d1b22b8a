"""Folders of corrected labels that the service saved (`SEGMENT_LABELS`).

Beside `image/` and `label/`, they have `provenance/` with a JSON file for each label that was saved. The files say what
the values of the labels mean, so that nothing needs to be guessed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.data.labels.label_scheme import MOST_CLASSES, LabelScheme

PROVENANCE = "provenance"

_KINDS = ("mask", "instances", "classes")


def is_saved(folder: Path) -> bool:
    """True if the service saved this folder."""
    return (folder / PROVENANCE).is_dir()


def saved_scheme(folder: Path) -> LabelScheme | None:
    """The scheme of the folder's labels; None if it was not saved by the service, or its provenance is unreadable.

    A folder with masks and instances is read as instances; `saved_masks` names the masks. Of a folder that nets of
    different numbers of classes were corrected in, the scheme is that of the most classes.
    """
    newest = _newest(folder)
    kinds = {record["kind"] for record in newest.values()}
    if "classes" in kinds:
        return LabelScheme("classes", max(record["classes"] for record in newest.values()))
    if not kinds:
        return None
    return LabelScheme("instances" if "instances" in kinds else "mask")


def saved_masks(folder: Path) -> frozenset[str]:
    """The ids of the labels that are masks, whose objects are their connected regions."""
    return frozenset(name for name, record in _newest(folder).items() if record["kind"] == "mask")


def saved_for_other_classes(folder: Path, classes: int) -> frozenset[str]:
    """The ids of the labels that were saved for a net of another number of classes."""
    return frozenset(name for name, record in _newest(folder).items() if record["classes"] != classes)


def _newest(folder: Path) -> dict[str, dict[str, Any]]:
    """The newest record of each id."""
    # in the order of their names, which end with the time
    return {record["id"]: record for record in _records(folder / PROVENANCE)}


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    """The records that can be read; others, which somebody may have put there, are left out."""
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            record = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and _is_valid(record):
            yield record


def _is_valid(record: dict[str, Any]) -> bool:
    kind, classes = record.get("kind"), record.get("classes")
    if kind not in _KINDS or not isinstance(classes, int) or not 1 <= classes <= MOST_CLASSES:
        return False
    return isinstance(record.get("id"), str) and (kind == "classes") == (classes > 1)
