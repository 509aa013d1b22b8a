import os
from pathlib import Path

import pytest

from app.weights_source import FileState, list_states, list_weights


def _touch(path: Path, age: int) -> Path:
    path.touch()
    os.utime(path, (1000 - age, 1000 - age))
    return path


def test_weights_files_of_a_folder_are_listed_newest_first(tmp_path: Path):
    oldest, newest = _touch(tmp_path / "z.safetensors", 3), _touch(tmp_path / "a.zip", 1)
    middle = _touch(tmp_path / "m.xml", 2)
    for name in (".hidden.safetensors", "notes.txt", "m.bin", "best.safetensors.part"):
        _touch(tmp_path / name, 0)
    assert list_weights(tmp_path) == [newest, middle, oldest]


def test_of_files_of_the_same_time_the_last_name_counts(tmp_path: Path):
    for name in ("b", "c", "a"):
        _touch(tmp_path / f"{name}.safetensors", 0)
    assert [path.stem for path in list_weights(tmp_path)] == ["c", "b", "a"]


def test_sub_folders_are_not_searched(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/weights.safetensors").touch()
    assert list_states(tmp_path) == []


def test_a_file_is_its_own_newest_and_may_be_missing(tmp_path: Path):
    path = _touch(tmp_path / "w.safetensors", 0)
    [state] = list_states(path)
    assert (state.path, state.exists) == (path, True)
    assert list_states(tmp_path / "missing.safetensors") == []
    with pytest.raises(OSError, match="too long"):
        list_states(tmp_path / ("x" * 5000))


def test_a_state_changes_with_each_write_and_with_a_replacement(tmp_path: Path):
    path, other = tmp_path / "w.safetensors", tmp_path / "other"
    path.write_bytes(b"one")
    states = [FileState.read(path)]
    path.write_bytes(b"more")
    os.utime(path, ns=(1, states[0].stamps[0][0]))  # the same time, another size
    states.append(FileState.read(path))
    other.write_bytes(b"most")
    os.utime(other, ns=(1, states[0].stamps[0][0]))
    other.replace(path)  # the same time and size, another file
    states.append(FileState.read(path))
    assert len(set(states)) == 3
    assert FileState.read(path) == states[-1]


def test_the_state_of_a_graph_includes_its_bin(tmp_path: Path):
    path = _touch(tmp_path / "net.xml", 0)
    before = FileState.read(path)
    (tmp_path / "net.bin").write_bytes(b"weights")
    assert FileState.read(path) != before
