"""Logs: one JSON object a line on stdout, the server's own lines among them."""

import json
import logging
import logging.config
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """time, level, event, and whatever was passed as `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logs(level: str) -> None:
    """Sends everything through one handler: our own lines from `level` on, other people's from warnings on.

    uvicorn's access lines are off: the service writes its own.
    """
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": JsonFormatter}},
            "handlers": {
                "stdout": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}
            },
            "root": {"level": "ERROR" if level == "error" else "WARNING", "handlers": ["stdout"]},
            "loggers": {
                "app": {"level": level.upper()},
                "model": {"level": level.upper()},
                "uvicorn.access": {"level": "CRITICAL"},
            },
        }
    )
