"""The benchmark of a GPU, on the CPU: a machine with a GPU is lent for minutes, and its script must not fail then."""

import json
import sys

import pytest

from benchmarks import gpu

SMALL = ["--device", "cpu", "--sides", "64", "--batches", "1", "2", "--repeats", "1", "--json"]
SHORT = ["--connections", "1", "--seconds", "0.1"]
# The others compile the net and train the tutorial's, which takes minutes on a CPU.
QUICK = "parity", "engine", "http"


def test_the_quick_parts_run_without_a_gpu(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["gpu", *SMALL, *SHORT, "--parts", *QUICK])
    assert gpu.main() == 0
    result = json.loads(capsys.readouterr().out)
    assert result["failed"] == {}
    assert result["parity"]["fp32"] == "largest difference 0.00000, mask differs in 0.0000%"
    assert len(result["engine"]) == 3 * 2
    assert "failed 0" in result["http"]["1 at a time"]


def test_a_part_that_fails_leaves_the_others(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def fail(*_arguments: object) -> dict[str, str]:
        raise RuntimeError("out of memory")

    for name in ("measure_parity", "measure_engine", "measure_net", "measure_http", "measure_training"):
        monkeypatch.setattr(gpu, name, fail if name == "measure_net" else lambda *_arguments: {"one": "1"})
    monkeypatch.setattr(sys, "argv", ["gpu", *SMALL])
    assert gpu.main() == 1
    result = json.loads(capsys.readouterr().out)
    assert result["failed"] == {"net": "RuntimeError: out of memory"}
    assert result["training"] == {"one": "1"}
