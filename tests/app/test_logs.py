import json
import logging
import sys
from pathlib import Path

from app.logs import JsonFormatter


def _record(message: str, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("app", level, "file.py", 1, message, None, None)
    record.__dict__.update(extra)
    return record


def test_a_record_is_one_line_of_json_whatever_it_holds():
    line = JsonFormatter().format(_record('two\nlines and a "quote" é', logging.WARNING))
    assert "\n" not in line
    parsed = json.loads(line)
    assert (parsed["event"], parsed["level"]) == ('two\nlines and a "quote" é', "warning")
    assert parsed["time"].endswith("+00:00")


def test_fields_stand_beside_the_event():
    parsed = json.loads(JsonFormatter().format(_record("request", fields={"status": 200, "file": Path("a")})))
    assert (parsed["event"], parsed["status"], parsed["file"]) == ("request", 200, "a")


def test_an_exception_is_in_the_same_line():
    try:
        raise ValueError("boom")
    except ValueError:
        line = JsonFormatter().format(_record("failed", exc_info=sys.exc_info()))
    assert "\n" not in line
    assert "ValueError: boom" in json.loads(line)["exception"]
