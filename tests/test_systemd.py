"""The unit of systemd in deploy/."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings

UNIT = Path(__file__).parents[1] / "deploy" / "segmentation.service"
PYTHON = "/opt/unet-segmentation-service/.venv/bin/python"


def values(name: str) -> list[str]:
    """The values of a key of the unit."""
    return [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{name}=")]


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (on Debian: apt install systemd)"
)
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PYTHON, sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line] == []


def test_the_unit_gives_the_service_time_to_finish():
    [seconds] = values("TimeoutStopSec")
    assert float(seconds) >= Settings.model_fields["deadline_s"].default + 2


def test_the_unit_sets_only_settings_that_exist():
    [settings] = values("Environment")
    names = [setting.partition("=")[0] for setting in settings.split()]
    assert [name for name in names if name.removeprefix("SEGMENT_").lower() not in Settings.model_fields] == []
