import subprocess
import sys
from pathlib import Path

import pytest

from training.data_error import DataError
from training.loop.run_folder import CURVES, LOCK, NAMES, NEXT_CHECKPOINT, RunFolder, read_history


class Killed(BaseException):
    """Not an Exception, for nobody to catch."""


def _fill(folder: Path) -> None:
    for name in NAMES:
        if name == CURVES:
            (folder / name).mkdir(parents=True)
        else:
            (folder / name).write_text(name)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("moment", range(len(NAMES) + 1))
def test_a_kill_while_archiving_is_completed_by_the_next_training(tmp_path, monkeypatch, moment, resume):
    _fill(tmp_path)
    renames: list[Path] = []
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if len(renames) == moment:
            raise Killed
        renames.append(self)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(Killed):
            RunFolder(tmp_path).begin()
    folder = RunFolder(tmp_path)
    assert folder.is_being_put_aside
    assert resume or not folder.begin().is_being_put_aside
    RunFolder(tmp_path).begin()
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, "earlier"]
    assert [path.name for path in (tmp_path / "earlier").iterdir()] == ["1"]
    assert sorted(path.name for path in (tmp_path / "earlier/1").iterdir()) == sorted(NAMES)


def test_each_earlier_training_has_a_folder_of_its_own(tmp_path):
    for number in ("1", "2", "3"):
        (tmp_path / "weights.safetensors").write_text(number)
        RunFolder(tmp_path).begin()
    found = {path.name: (path / "weights.safetensors").read_text() for path in (tmp_path / "earlier").iterdir()}
    assert found == {"1": "1", "2": "2", "3": "3"}


def test_only_temporary_files_of_a_killed_training_are_removed(tmp_path):
    _fill(tmp_path)
    (tmp_path / NEXT_CHECKPOINT).write_text("whole, but not in its place")
    for left in (".checkpoint-next.pt.123.tmp", ".weights.safetensors.4.tmp", ".report.html.5.tmp"):
        (tmp_path / left).write_text("half")
    (tmp_path / ".notes.6.tmp").write_text("somebody's")
    RunFolder(tmp_path).clean()
    assert {path.name for path in tmp_path.iterdir()} == {*NAMES, ".notes.6.tmp"}


def test_a_history_is_read_as_it_was_written(tmp_path):
    rows = [{"step": 10.0, "loss": 0.5, "v_rand": 0.912346}, {"step": 20.0, "loss": 1e-05, "v_rand": 1.0}]
    RunFolder(tmp_path).write_history(rows)
    assert read_history(tmp_path / "history.csv") == rows
    assert (tmp_path / "history.csv").read_text().splitlines()[1] == "10,0.5,0.912346"


@pytest.mark.parametrize("torn", ["3", "3,", "3,0.", "3,0.2"])
def test_a_row_that_was_cut_off_does_not_count(tmp_path, torn):
    (tmp_path / "history.csv").write_text(f"step,loss\r\n1,0.5\r\n2,0.4\r\n{torn}", newline="")
    assert [row["loss"] for row in read_history(tmp_path / "history.csv")] == [0.5, 0.4]


def test_a_row_that_lacks_a_value_is_an_error_of_the_data(tmp_path):
    (tmp_path / "history.csv").write_text("step,loss\n1,0.5\n2\n3,0.2\n")
    with pytest.raises(DataError, match=r"history\.csv"):
        read_history(tmp_path / "history.csv")


def test_a_run_folder_is_locked_by_one_process_and_free_after_its_kill(tmp_path):
    hold = "import sys, time; from pathlib import Path; from training.loop.run_folder import RunFolder\n"
    hold += "folder = RunFolder(Path(sys.argv[1])).begin(); print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "held\n"
        (tmp_path / "checkpoint.pt").write_text("of the other process")
        with pytest.raises(DataError, match="another process is training there"):
            RunFolder(tmp_path).begin()
        assert (tmp_path / "checkpoint.pt").exists()
        process.kill()
    RunFolder(tmp_path).begin()
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_training_killed_before_its_first_checkpoint_is_not_archived(tmp_path):
    (tmp_path / NEXT_CHECKPOINT).write_text("whole, but not in its place")
    RunFolder(tmp_path).begin()
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
