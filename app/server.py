"""The HTTP server's process: listening, signals, the way out."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.service import Service


class DrainingServer(uvicorn.Server):
    """uvicorn, but SIGTERM or Ctrl-C drains and ends with exit code 0; uvicorn itself would then die of the signal."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals.clear()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.drain()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._service.failure is not None


def serve(app: FastAPI) -> int:
    """Listens until told to stop; the exit code: 0, or 1 if it cannot listen or have its engine (the log says why)."""
    service: Service = app.state.service
    settings = service.settings
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.deadline_s) + 1,
    )
    try:
        DrainingServer(config, service).run()
    except SystemExit:  # how uvicorn ends when it cannot listen; its code is 3, which means bad weights here
        return 1
    return 1 if service.failure else 0
