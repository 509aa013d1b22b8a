from pathlib import Path

import pytest

from model.atomic_write import publish, stage, write_whole


def test_a_file_is_written_with_its_folder_and_nothing_else(tmp_path: Path):
    path = tmp_path / "new" / "a.png"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_atomic_write_leaves_no_temporary_file(tmp_path: Path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "a.png", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_staged_files_of_one_path_have_different_names(tmp_path: Path):
    path = tmp_path / "a.png"
    first, second = stage(path, b"first"), stage(path, b"second")
    assert not path.exists()
    publish(second, path)
    publish(first, path)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_staged_leaves_nothing(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        stage(tmp_path / "missing" / "a.png", b"data")
    assert list(tmp_path.iterdir()) == []
