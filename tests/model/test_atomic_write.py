from pathlib import Path

import pytest

from model.atomic_write import write_whole


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
