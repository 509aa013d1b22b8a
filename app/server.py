"""The HTTP server's process: listening, signals, the way out."""

import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.connection import PatientProtocol, most_connections
from app.listening import UNIX, close_sockets, open_sockets
from app.service import Service
from app.settings import Settings
from model.weights_file import WeightsError

log = logging.getLogger(__name__)

# An open connection may end within these, even if no time to drain is left.
_LEAST_WAIT_S = 0.1


class DrainingServer(uvicorn.Server):
    """uvicorn's server, except that SIGTERM or Ctrl-C drains with the port open and ends with exit code 0.

    A second Ctrl-C gives up the requests in progress and ends with 130.

    uvicorn itself would close the port first, so that no probe could reach `/readyz`, and would then die by the signal.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._drained_by = 0.0  # by time.monotonic; no client that takes its answer slowly holds us longer

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals.clear()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            self._drained_by = time.monotonic() + self._service.settings.deadline_s + 1
        self._service.drain()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        stop = await super().on_tick(counter) or self._service.failure is not None
        return stop and (self.force_exit or not self.server_state.tasks or time.monotonic() > self._drained_by)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends idle connections at once, and others when the time to drain is over.

        After a second Ctrl-C, it ends the process, because threads that still compute would abort the usual end.
        """
        if self.force_exit:
            log.warning("given up by a second Ctrl-C")
            logging.shutdown()
            close_sockets(self._service.settings, sockets or [])
            os._exit(128 + signal.SIGINT)
        left = max(_LEAST_WAIT_S, self._drained_by - time.monotonic())
        self.config.timeout_graceful_shutdown = left  # type: ignore[assignment]  # any number of seconds will do
        await super().shutdown(sockets)


def serve(app: FastAPI) -> int:
    """Listens until told to stop; the exit code: 0, or 1 if it cannot listen or make its engine (the log says why).

    Raises SettingsError for a host without an address, WeightsError if what the weights give on this machine is no
    probabilities.
    """
    service: Service = app.state.service
    settings = service.settings
    try:
        sockets = open_sockets(settings)
    except OSError as error:
        log.error("cannot listen on %s: %s", _address(settings), error.strerror or error)
        return 1
    try:
        DrainingServer(make_config(app, most_connections()), service).run(sockets)
    finally:
        close_sockets(settings, sockets)
    if isinstance(service.failure, WeightsError):
        raise service.failure
    return 1 if service.failure else 0


def _address(settings: Settings) -> str:
    return settings.host if settings.host.startswith(UNIX) else f"{settings.host}, port {settings.port}"


def make_config(app: FastAPI, most: int) -> uvicorn.Config:
    """Returns uvicorn's configuration. `most`: connections open at once."""
    service: Service = app.state.service
    settings = service.settings
    return uvicorn.Config(
        app,
        http=partial(PatientProtocol, service, most),  # type: ignore[arg-type]  # called like the class it expects
        loop="asyncio",  # uvloop has no wheels for Windows, and was no faster
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]  # any number of seconds will do
    )
