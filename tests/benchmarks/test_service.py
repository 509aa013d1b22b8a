"""The benchmark of the service runs, and its ideal queue is one."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import service
from tests.support.measuring import arrivals, ideal_waits
from tests.support.small_net import save_small_net

SHORT = ["--rounds", "1", "--seconds", "0.2", "--concurrency", "1", "2", "--batches", "1", "--rates", "20", "--json"]


def test_the_service_is_compared_with_the_bare_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SEGMENT_WEIGHTS", str(save_small_net(tmp_path / "small.safetensors")))
    monkeypatch.setattr(sys, "argv", ["service", *SHORT])
    assert service.main() == 0
    result = json.loads(capsys.readouterr().out)
    assert result["model"]["name"] == "small"
    assert all(row["failed"] == 0 and row["answers"] > 0 for row in result["service"].values())
    (row,) = result["open_loop"]
    assert row["answers"] == 4
    assert row["failed"] == 0
    assert row["ideal_p50_ms"] >= result["service"]["1"]["p50_ms"]
    ratios = result["ratios"]
    assert min(*ratios["throughput_from_file_to_file"], *ratios["throughput_of_the_engines"]) > 0


def test_an_ideal_queue_takes_arrivals_in_turn():
    assert ideal_waits([0.0, 0.1, 0.2, 5.0], 1.0) == pytest.approx([0, 0.9, 1.8, 0])


def test_long_queues_wait_as_the_theory_says():
    """Pollaczek and Khinchine: with a fixed time s and a load r, the mean wait is s r / (2 (1 - r))."""
    waits = ideal_waits(arrivals(0.8, 500_000, seed=0), 1.0)
    assert sum(waits) / len(waits) == pytest.approx(2.0, rel=0.05)
