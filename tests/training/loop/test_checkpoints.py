from dataclasses import fields
from pathlib import Path

import pytest
import torch

from training.data_error import DataError
from training.loop import checkpoints
from training.loop.checkpoints import Checkpoints, State, read_checkpoint
from training.loop.progress import Progress

NEWEST, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"


def _state(step: int) -> State:
    progress = Progress(step=step, best_weights={"weight": torch.arange(100.0) + step})
    return progress.state() | {"learner": {"net": torch.ones(50)}, "parts": 1, "recipe": "{}", "trained": "2026-01-31"}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with the checkpoints of steps 2 and 3; the one of step 1 has gone."""
    writer = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        writer.save(_state(step))
    return tmp_path


def test_the_last_two_are_kept_and_nothing_else(kept):
    assert {path.name: read_checkpoint(path)["step"] for path in kept.iterdir()} == {NEWEST: 3, PREVIOUS: 2}
    state, problem = Checkpoints(kept).load()
    assert problem == ""
    assert state is not None
    assert torch.equal((Progress.of(state).best_weights or {})["weight"], torch.arange(100.0) + 3)


def test_without_any_there_is_nothing_to_say(tmp_path):
    assert Checkpoints(tmp_path).load() == (None, "")
    assert Checkpoints(tmp_path / "no folder").load() == (None, "")


@pytest.mark.parametrize("damage", [lambda data: data[:1000], lambda _: b"", lambda data: b"\0" * len(data)])
def test_an_unreadable_checkpoint_falls_back_to_the_previous_with_a_line(kept, damage):
    (kept / NEWEST).write_bytes(damage((kept / NEWEST).read_bytes()))
    state, problem = Checkpoints(kept).load()
    assert state is not None
    assert state["step"] == 2
    assert problem == f"{kept / NEWEST}: broken or truncated"


def test_one_changed_byte_in_a_tensor_is_detected(kept):
    data = bytearray((kept / NEWEST).read_bytes())
    data[data.index(torch.ones(50).numpy().tobytes()) + 10] ^= 1
    (kept / NEWEST).write_bytes(data)
    assert torch.load(kept / NEWEST, weights_only=True)["step"] == 3, "torch itself reads it all the same"
    state, problem = Checkpoints(kept).load()
    assert state is not None
    assert (state["step"], problem) == (2, f"{kept / NEWEST}: broken or truncated")


def test_a_checkpoint_of_another_version_counts_as_broken(kept):
    for name in sorted({"learner", "parts", *(part.name for part in fields(Progress))}):
        torch.save({key: value for key, value in _state(4).items() if key != name}, kept / NEWEST)
        state, problem = Checkpoints(kept).load()
        assert state is not None
        assert (state["step"], problem) == (2, f"{kept / NEWEST}: of another version")


def test_two_unreadable_checkpoints_are_an_error(kept):
    for name in (NEWEST, PREVIOUS):
        (kept / name).write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match=r"checkpoint\.pt: broken .*checkpoint-previous\.pt: broken .*train afresh"):
        Checkpoints(kept).load()


def test_the_first_one_after_a_damaged_one_takes_its_place(kept):
    (kept / NEWEST).write_bytes(b"damaged")
    resumed = Checkpoints(kept)
    state, _ = resumed.load()
    assert state is not None
    resumed.save(state)
    assert [read_checkpoint(kept / name)["step"] for name in (NEWEST, PREVIOUS)] == [2, 2]


def test_a_failed_checkpoint_write_keeps_both_earlier_ones(kept, monkeypatch):
    def full(_path: Path, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    writer = Checkpoints(kept)
    writer.save(_state(4))
    monkeypatch.setattr(checkpoints, "write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        writer.save(_state(5))
    assert [read_checkpoint(kept / name)["step"] for name in (NEWEST, PREVIOUS)] == [4, 2]
