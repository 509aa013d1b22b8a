import json
import subprocess
import sys
import time

import pytest

from app.startup import Startup, process_age_s


def test_the_first_stage_begins_with_the_process():
    code = (
        "import json, time; time.sleep(0.3); from app.startup import Startup; s = Startup(); s.done('import'); "
        "time.sleep(0.1); s.done('rest'); print(json.dumps(s.summary()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    stages = json.loads(found)
    assert list(stages) == ["import_ms", "rest_ms", "ready_ms"]
    assert stages["import_ms"] >= 290
    assert stages["rest_ms"] >= 100
    assert abs(stages["ready_ms"] - stages["import_ms"] - stages["rest_ms"]) <= 1


def test_where_the_age_is_not_told_the_first_stage_begins_at_once(monkeypatch: pytest.MonkeyPatch):
    assert process_age_s() > 0
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")  # as on a Mac
    assert process_age_s() == 0
    stopwatch = Startup()
    stopwatch.done("first")
    assert stopwatch.summary()["first_ms"] < 1000
