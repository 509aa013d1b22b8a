import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.loop.tensorboard import Curves


@pytest.fixture
def clock(monkeypatch):
    """A second more each time, for files are named by it."""
    seconds = iter(range(1_000_000_000, 2_000_000_000))
    monkeypatch.setattr(time, "time", lambda: next(seconds))


def _read(folder: Path) -> EventAccumulator:
    read = EventAccumulator(str(folder))
    read.Reload()
    return read


@pytest.mark.usefixtures("clock")
def test_tensorboard_shows_steps_repeated_after_a_kill_once(tmp_path):
    first = Curves(tmp_path)
    for step in (10, 20, 30):
        first.show(step, "picture", np.full((4, 6), step, np.uint8))
        first.write(step, {"loss": step, "v_rand": 0.5})
    second = Curves(tmp_path)
    second.go_on_from(21)
    second.write(30, {"loss": 31, "v_rand": 0.5})
    second.write(40, {"loss": 41, "v_rand": 0.5})
    read = _read(tmp_path)
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(10, 10), (20, 20), (30, 31), (40, 41)]
    assert [(event.step, event.width, event.height) for event in read.Images("picture")] == [(10, 6, 4), (20, 6, 4)]


@pytest.mark.usefixtures("clock")
def test_a_value_that_was_cut_off_hides_nothing_that_comes_after(tmp_path):
    Curves(tmp_path).write(10, {"loss": 1.0})
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    Curves(tmp_path).write(20, {"loss": 2.0})
    file.write_bytes(whole + whole[-30:-7])
    assert [event.step for event in _read(tmp_path).Scalars("loss")] == [10, 20]


def test_no_picture_is_written_before_its_step_has_been_checked(tmp_path):
    shown = Curves(tmp_path / "new")
    shown.show(10, "picture", np.zeros((4, 6), np.uint8))
    assert not (tmp_path / "new").exists()
