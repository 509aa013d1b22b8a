"""The folder of saved labels, written by real files."""

import asyncio
import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from app.metrics import Metrics
from app.saving import label_store
from app.saving.checked_pair import CheckedPair, check_pair, measure_pair
from app.saving.label_store import BLOCK, FOLDERS, LabelStore, Saved, StoreFull, open_store
from app.settings import Settings, SettingsError
from model.atomic_write import stage
from model.images.encoding import encode_png
from model.inputs.preprocessing import Pixels
from tests.support.forked import FORKED

MAX_PAIRS, MAX_BYTES = 10, 10 * 2**20
MASK = np.eye(16, dtype=np.uint8) * 255


def _pair(seed: int = 0, label: Pixels = MASK) -> CheckedPair:
    image = np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)
    return check_pair(measure_pair(encode_png(image), encode_png(label), 1000), 1)


def _store(folder: Path, pairs: int = MAX_PAIRS, size: int = MAX_BYTES) -> LabelStore:
    return LabelStore(folder, pairs, size, Metrics())


def _save(store: LabelStore, pair: CheckedPair, name: str = "a") -> Saved:
    return asyncio.run(store.save(pair, {"name": name}))


def _files(folder: Path) -> dict[str, list[Path]]:
    return {name: sorted((folder / name).iterdir()) for name in FOLDERS}


def test_a_pair_has_an_image_a_label_history_and_provenance(tmp_path: Path):
    pair = _pair()
    assert _save(_store(tmp_path), pair) == Saved(pair.id, "saved", 1)
    files = _files(tmp_path)
    assert [len(found) for found in files.values()] == [1, 1, 1, 1]
    assert files["image"][0].name == files["label"][0].name == f"{pair.id}.png"
    assert files["image"][0].read_bytes() == pair.image
    assert files["label"][0].read_bytes() == files["history"][0].read_bytes() == pair.label
    record = json.loads(files["provenance"][0].read_text())
    assert (record["id"], record["name"], record["kind"]) == (pair.id, "a", "mask")
    assert record["time"].endswith("+00:00")
    assert files["provenance"][0].stem == files["history"][0].stem


def test_a_later_label_replaces_the_earlier_one_and_keeps_it(tmp_path: Path):
    store, first, second = _store(tmp_path), _pair(), _pair(label=np.flipud(MASK).copy())
    _save(store, first)
    assert _save(store, second) == Saved(first.id, "replaced", 1)
    assert (tmp_path / "label" / f"{first.id}.png").read_bytes() == second.label
    assert [path.read_bytes() for path in _files(tmp_path)["history"]] == [first.label, second.label]


def test_the_same_label_again_writes_nothing(tmp_path: Path):
    store = _store(tmp_path)
    _save(store, _pair())
    before = _files(tmp_path)
    assert _save(store, _pair(), "b").outcome == "unchanged"
    assert _files(tmp_path) == before


def test_the_provenance_of_a_label_is_found_by_its_sha256(tmp_path: Path):
    store = _store(tmp_path)
    for name, label in (("first", MASK), ("second", np.flipud(MASK).copy()), ("third", np.fliplr(MASK).copy() // 255)):
        _save(store, _pair(label=label), name)
    (label_path,) = _files(tmp_path)["label"]
    digest = hashlib.sha256(label_path.read_bytes()).hexdigest()
    records = [json.loads(path.read_text()) for path in _files(tmp_path)["provenance"]]
    assert [record["name"] for record in records if record["label_sha256"] == digest] == ["third"]


def test_pairs_and_bytes_are_counted_as_a_new_store_counts_them(tmp_path: Path):
    store = _store(tmp_path)
    for seed in (0, 1, 0):
        _save(store, _pair(seed, label=np.full((16, 16), seed + store.pairs, np.uint8)))
    again = _store(tmp_path)
    assert (again.pairs, again.bytes) == (store.pairs, store.bytes)
    assert store.bytes == BLOCK * sum(map(len, _files(tmp_path).values()))


def test_more_pairs_than_the_limit_are_refused_but_replaced(tmp_path: Path):
    store = _store(tmp_path, pairs=1)
    _save(store, _pair(0))
    with pytest.raises(StoreFull, match="SEGMENT_MAX_LABELS allows 1 pairs"):
        _save(store, _pair(1))
    assert _save(store, _pair(0, np.flipud(MASK).copy())).outcome == "replaced"


def test_more_bytes_than_the_limit_are_refused_and_leave_nothing(tmp_path: Path):
    store = _store(tmp_path, size=5 * BLOCK)
    _save(store, _pair(0))
    before = _files(tmp_path)
    with pytest.raises(StoreFull, match=f"SEGMENT_MAX_LABELS_BYTES allows {5 * BLOCK} bytes"):
        _save(store, _pair(1))
    assert _files(tmp_path) == before


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_full_disk_leaves_no_part_of_a_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int):
    store, counted = _store(tmp_path), 0
    _save(store, _pair(0))
    before, size = _files(tmp_path), store.bytes

    def full(path: Path, data: bytes) -> Path:
        nonlocal counted
        counted += 1
        if counted == failing:
            raise OSError(28, "No space left on device")
        return stage(path, data)

    monkeypatch.setattr(label_store, "stage", full)
    with pytest.raises(OSError, match="No space"):
        _save(store, _pair(1))
    assert _files(tmp_path) == before
    assert (store.pairs, store.bytes) == (1, size)
    monkeypatch.undo()
    assert _save(store, _pair(1)).pairs == 2


def test_old_leftovers_of_killed_writes_are_removed_at_the_start(tmp_path: Path):
    _save(_store(tmp_path), _pair(0))
    kept = _files(tmp_path)
    foreign, young = tmp_path / "image" / "mine.png", tmp_path / "label" / ".b.png.1-2.tmp"
    old = [tmp_path / "label" / ".a.png.1-2.tmp", tmp_path / "image" / f"{'0' * 32}.png"]
    for path in (foreign, young, *old):
        path.write_bytes(b"x")
    for path in (foreign, *old):
        os.utime(path, (time.time() - 7200,) * 2)
    assert _store(tmp_path).pairs == 1
    assert set(_files(tmp_path)["image"]) == {*kept["image"], foreign}
    assert set(_files(tmp_path)["label"]) == {*kept["label"], young}


def _write(folder: Path, start: int) -> None:
    store = _store(folder)
    for number in range(start, start + 20):
        label = np.full((16, 16), number, np.uint8)
        asyncio.run(store.save(_pair(label=label), {"name": str(number)}))


def test_two_processes_that_save_one_image_keep_both_histories(tmp_path: Path):
    writers = [FORKED.Process(target=_write, args=(tmp_path, start), daemon=True) for start in (100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    files = _files(tmp_path)
    assert [len(found) for found in files.values()] == [1, 1, 40, 40]
    records = {path.stem: json.loads(path.read_text()) for path in files["provenance"]}
    for path in files["history"]:
        assert records[path.stem]["label_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    last = {max(found) for found in (range(100, 120), range(200, 220))}
    digest = hashlib.sha256(files["label"][0].read_bytes()).hexdigest()
    assert {int(each["name"]) for each in records.values() if each["label_sha256"] == digest} <= last


def test_without_the_setting_there_is_no_store():
    assert open_store(Settings(), Metrics()) is None


@pytest.mark.parametrize("kind", ["file", "below a file"])
def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path: Path, kind: str):
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / ("" if kind == "file" else "labels")
    with pytest.raises(SettingsError, match=f"^SEGMENT_LABELS={path}: the folder cannot be written to"):
        open_store(Settings(labels=path), Metrics())
