"""Servers as processes of their own, on free ports of this machine."""

import asyncio
import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

import psutil

from app.settings import PREFIX
from tests.support.forked import Forked
from tests.support.measuring import HOST, Answer, Client, form

ROOT = Path(__file__).parents[2]
START_S, END_S = 180.0, 15.0  # how long a server may take to start, and to end by itself
SAMPLE_S = 0.02


Process: TypeAlias = "subprocess.Popen[bytes] | Forked"


class ServerError(RuntimeError):
    """A server that does not start, or answers with something else than was asked for."""


@dataclass(frozen=True)
class Server:
    """A running server that takes an image at `path`."""

    process: Process
    port: int
    path: str

    @property
    def rss(self) -> int:
        """Bytes of the process's memory that are in RAM."""
        resident: int = psutil.Process(self.process.pid).memory_info().rss
        return resident

    def get(self, path: str) -> Answer:
        return asyncio.run(ask_once(self.port, f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()))

    def post(self, image: bytes) -> Answer:
        return asyncio.run(ask_once(self.port, form(self.path, image)))

    def mask(self, image: bytes) -> bytes:
        """The answer's PNG. Raises ServerError."""
        answer = self.post(image)
        if not answer.is_png:
            raise ServerError(f"POST {self.path}: {answer.status} {answer.body[:200].decode(errors='replace')}")
        return answer.body


async def ask_once(port: int, request: bytes) -> Answer:
    """Over a connection of its own."""
    client = Client(port, request)
    try:
        return await client.ask()
    finally:
        client.close()


@dataclass
class Peak:
    """The most that `Server.rss` was seen to be, bytes."""

    rss: int = 0


@contextmanager
def watched(server: Server) -> Iterator[Peak]:
    """Looks at the server's memory until the end of the block."""
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_S):
            peak.rss = max(peak.rss, server.rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


@contextmanager
def started(module: str, path: str, is_ready: Callable[[Server], bool], **settings: object) -> Iterator[Server]:
    """`python -m MODULE` on SEGMENT_PORT, ready, and at its end stopped with all its children. Raises ServerError.

    `settings`: by lower-case names without SEGMENT_; others are left as they are in this process's environment.
    """
    port = free_port()
    # its own keys would keep us out; a variable that is empty counts as not set
    ours = {"host": HOST, "port": port, "log_level": "warning", "api_keys": ""} | settings
    environment = os.environ | {f"{PREFIX}{name.upper()}": str(value) for name, value in ours.items()}
    with tempfile.TemporaryFile() as log:
        process = start([module], environment, log)
        try:
            server = Server(process, port, path)
            _wait(server, is_ready, log)
            yield server
        finally:
            end(process)


def start(command: list[str], environment: dict[str, str], log: IO[bytes]) -> "Process":
    """Starts `python -m COMMAND`, which writes to `log`."""
    return subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=log, stderr=log)


def service(**settings: object) -> AbstractContextManager[Server]:
    """The real service, see `started`."""
    return started("app", "/segment", lambda server: server.get("/readyz").status == 200, **settings)


def _wait(server: Server, is_ready: Callable[[Server], bool], log: IO[bytes]) -> None:
    last = time.monotonic() + START_S
    while not is_ready(server):
        if server.process.poll() is not None or time.monotonic() > last:
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines()
            raise ServerError(f"the server of {server.path} did not start: {said[-1] if said else 'not a word'}")
        time.sleep(0.1)


def end(process: "Process | subprocess.Popen[str]") -> None:
    """Asks a process to end, and kills what is left of it and its children."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        process.kill()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.wait()


def free_port() -> int:
    """That nobody listens on, nor will before it is used: below those that systems give to whoever asks for any port.

    Linux gives 32768 and up, macOS 49152 and up; Ray takes dozens of them while it starts. Raises ServerError.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_768), 100):
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port
    raise ServerError("none of a hundred ports from 20000 to 32767 is free")
