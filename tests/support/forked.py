"""`python -m MODULE` without the imports: processes forked from one that has torch, the service and the training job.

Importing them takes two to four seconds of CPU time, and a fork takes none. The first start makes the process to fork.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        *("tests.support.often_checked", "torch._dynamo", "training.run.job", "training.report.html_report"),
        *("app.application", "app.server", "app.local_backend", "model.predict", "openvino", "tensorboard"),
    ]
)

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120


class _Stream:
    """An open file that the new process gets."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _Inherited, (DupFd(self._number),)


class _Inherited:
    """An open file that was received."""

    def __init__(self, received: Any) -> None:
        self._received = received

    def become(self, number: int) -> None:
        os.dup2(self._received.detach(), number)


class Forked:
    """A running `python -m MODULE`: as much of `subprocess.Popen` as tests need. It leads a process group."""

    def __init__(
        self,
        module: str,
        *arguments: object,
        stdout: IO[Any],
        stderr: IO[Any],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.args = [sys.executable, "-m", module, *map(str, arguments)]
        streams = [_Stream(stream.fileno()) for stream in (stdout, stderr)]
        given = (module, self.args[3:], streams, str(cwd or Path.cwd()), dict(os.environ if env is None else env))
        self._process = FORKED.Process(target=_run, args=given, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.wait()


def _run(module: str, arguments: Sequence[str], streams: list[_Inherited], cwd: str, env: Mapping[str, str]) -> None:
    os.setsid()
    for number, stream in enumerate(streams, start=1):
        stream.become(number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path.insert(0, cwd)
    sys.argv[1:] = arguments
    sys.modules.pop(module, None)  # or runpy would warn that it has been imported
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def start(command: Sequence[str], environment: Mapping[str, str], log: IO[Any]) -> Forked:
    """As `tests.support.servers.start`."""
    return Forked(*command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def run(module: str, *arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Runs a module to its end; for `options`, see `Forked`."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = Forked(module, *arguments, stdout=stdout, stderr=stderr, **options)
        try:
            code = process.wait(PATIENCE_S)
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(process.args, code, stdout.read(), stderr.read())
