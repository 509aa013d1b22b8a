"""The measurement of doubts, on two small sets of different kinds."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import doubts
from model.images.encoding import encode_png
from tests.support.pictures import blobs
from tests.support.small_net import save_small_net


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    for name, grain in (("coarse", 16), ("fine", 2)):
        for part in ("image", "label"):
            (tmp_path / name / part).mkdir(parents=True)
        for seed in range(15):
            picture = blobs(seed, side=256, grain=grain)
            (tmp_path / name / "image" / f"{seed}.png").write_bytes(encode_png(picture))
            (tmp_path / name / "label" / f"{seed}.png").write_bytes(encode_png((picture > 120).astype(np.uint8) * 255))
    return tmp_path


def test_matrix_doubts_other_kinds_only(sets, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["doubts", "--data", str(sets)])
    assert doubts.main() == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| coarse (12) | **0%** | 100% |",
        "| fine (12) | 100% | **0%** |",
    ]


def test_net_is_scored_on_distorted_images(sets, tmp_path, monkeypatch, capsys):
    weights = save_small_net(tmp_path / "net.safetensors")
    monkeypatch.setattr(sys, "argv", ["doubts", "--data", str(sets), "--weights", str(weights), "--set", "coarse"])
    assert doubts.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| 0.25 times")] == ["| 0.25 times as large"]
    assert lines[-2].startswith("rank correlation of Dice with novelty: ")


def test_set_that_is_not_there_is_reported(sets, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["doubts", "--data", str(sets), "--weights", "w", "--set", "nuclei"])
    assert doubts.main() == 2
    assert "--set nuclei: choose one of coarse, fine" in capsys.readouterr().err
