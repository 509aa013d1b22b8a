"""Data in ZIP files: read like folders, and never written outside a temporary folder."""

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import SHORT
from training.data import archive
from training.data.archive import data_folder
from training.data.folder import load_images, load_samples
from training.data.image_reader import ImageReader
from training.data_error import DataError
from training.run import command as run

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)
HALF = np.repeat(np.array([[0], [255]], np.uint8), 4, axis=0) * np.ones((1, 8), np.uint8)


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of the test."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def _zip(folder: Path, path: Path, top: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.rglob("*")):
            packed.write(file, top + str(file.relative_to(folder)))
    return path


def _zip_of(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return path


@pytest.mark.parametrize("top", ["", "cells/", "labels/"])
def test_a_zip_is_read_like_its_folder(tmp_path, write_pair, temporary, top):
    for stem in ("1", "2", "10"):
        write_pair(tmp_path / "data", stem, GREY + int(stem), HALF)
    path = _zip(tmp_path / "data", tmp_path / "cells.zip", top)
    samples = load_samples(path)
    assert [sample.name for sample in samples] == ["1", "2", "10"]
    assert (samples[2].pixels == GREY + 10).all()
    assert len(load_images(path, 2, ImageReader())) == 2
    assert list(temporary.iterdir()) == []


def test_problems_name_the_zip_and_not_the_temporary_folder(tmp_path, write_pair):
    write_pair(tmp_path / "data", "1", GREY, HALF[:4])
    path = _zip(tmp_path / "data", tmp_path / "cells.zip")
    with pytest.raises(DataError, match=r"cells.zip/image/1.png: 8 x 8 pixels, its label 1.png has 8 x 4") as caught:
        load_samples(path)
    assert "training-data-" not in str(caught.value)


def test_files_of_macos_are_left_out(tmp_path, write_pair):
    write_pair(tmp_path / "data", "1", GREY, HALF)
    path = _zip(tmp_path / "data", tmp_path / "cells.zip")
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("__MACOSX/image/._1.png", b"resource fork")
    assert len(load_samples(path)) == 1


@pytest.mark.parametrize("name", ["../out.png", "/out.png", "image/../../out.png", "C:\\out.png", "a\\..\\b", "C:x"])
def test_names_that_lead_outside_are_refused(tmp_path, temporary, name):
    path = _zip_of(tmp_path / "a.zip", **{name: b"x"})
    with pytest.raises(DataError, match=r"a.zip: .* is a link or leads outside the ZIP file"), data_folder(path):
        pass
    assert list(temporary.iterdir()) == []
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_links_are_refused(tmp_path):
    member = zipfile.ZipInfo("image/link.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(member, "/etc/passwd")
    with pytest.raises(DataError, match="is a link or leads outside"), data_folder(tmp_path / "a.zip"):
        pass


def _damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[60:70] = bytes(10)
    path.write_bytes(data)


def _encrypted(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for start, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.index(start) + offset
        data[at : at + 2] = struct.pack("<H", 1)
    path.write_bytes(data)


def _larger_than_declared(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for start, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.index(start) + offset
        data[at : at + 4] = struct.pack("<I", 3)
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [_damaged, _encrypted, _larger_than_declared])
def test_a_zip_that_cannot_be_read_is_named(tmp_path, temporary, harm: Callable[[Path], None]):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("image/1.png", b"pixels of a picture" * 99)
    harm(tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"a.zip: the ZIP file is damaged, encrypted"), data_folder(tmp_path / "a.zip"):
        pass
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("limit", "most"), [("MOST_FILES", 1), ("MOST_BYTES", 3)])
def test_a_zip_beyond_the_limits_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, limit, most):
    monkeypatch.setattr(archive, limit, most)
    path = _zip_of(tmp_path / "a.zip", a=b"12", b=b"34")
    with pytest.raises(DataError, match=r"a.zip: 2 files of 4 bytes; at most"), data_folder(path):
        pass


def test_a_zip_larger_than_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 3}))
    path = _zip_of(tmp_path / "a.zip", a=b"1234")
    with pytest.raises(DataError, match="set TMPDIR to another disk"), data_folder(path):
        pass


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a.png: a folder or a ZIP file is expected"):
        load_samples(tmp_path / "a.png")


@pytest.mark.usefixtures("no_report")
def test_a_training_on_a_zip_can_be_resumed(cells_folder, tmp_path):
    path, out = _zip(cells_folder, tmp_path / "cells.zip"), str(tmp_path / "out")
    assert run.main(["--data", str(path), "--out", out, *SHORT]) == 0
    weights = (tmp_path / "out" / "weights.safetensors").read_bytes()
    assert run.main(["--data", str(cells_folder), "--out", str(tmp_path / "folder"), *SHORT]) == 0
    assert (tmp_path / "folder" / "weights.safetensors").read_bytes() == weights
    assert run.main(["--resume", "--out", out]) == 0
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == weights
