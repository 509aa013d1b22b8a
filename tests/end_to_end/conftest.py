"""The real service as a process of its own, on a free port of this machine; weights of a small net."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from app import __main__ as service_process
from model.inputs.preprocessing import Pixels, Preprocessing
from model.segmenter import Segmenter
from model.unet import UNet, UNetConfig
from model.weights_file import Description, load_weights, save_weights
from tests.end_to_end.http import HTTP
from tests.support.forked import Forked
from tests.support.servers import free_port
from tests.support.small_net import save_small_net

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
TILE = 128


def _environment(settings: dict[str, object]) -> dict[str, str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENT_")}
    return outside | {f"SEGMENT_{name.upper()}": str(value) for name, value in settings.items()}


def _client_of(host: str, stack: ExitStack) -> httpx.Client:
    """A client for a server that listens on this host."""
    path = host.removeprefix("unix:")
    if path == host:
        return HTTP
    return stack.enter_context(httpx.Client(transport=httpx.HTTPTransport(uds=path), timeout=120))


@dataclass
class Server:
    """`python -m app`, running."""

    process: Forked
    port: int
    folder: Path
    client: httpx.Client = HTTP

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines on stdout; the last one may still be in the writing."""
        return [json.loads(line) for line in self.stdout.splitlines(keepends=True) if line.endswith("\n")]

    def logged(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line.get("request_id") == request_id]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.stdout + self.stderr
        if '"ready"' not in self.stdout:
            return False
        try:
            return self.client.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def _wait_until(condition: Callable[[], object]) -> None:
    last = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < last, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], object]], None]:
    """`wait_until(condition)`: returns when it holds, fails after a minute."""
    return _wait_until


@pytest.fixture(scope="session")
def weights_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of one channel and one class whose masks hold both values; alone in its folder."""
    path = tmp_path_factory.mktemp("weights") / "small-net.safetensors"
    save_small_net(path, depth=2)
    return path


@pytest.fixture(scope="session")
def segmenter(weights_path: Path) -> Segmenter:
    """What the service is compared with."""
    return Segmenter.load(weights_path, device="cpu", precision="fp32", tile=TILE)


@pytest.fixture(scope="session")
def run_app(weights_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`run_app(**settings)`: a start that is expected to fail; what came of it."""

    def run(**settings: object) -> "subprocess.CompletedProcess[str]":
        environment = _environment({"weights": weights_path, "host": "127.0.0.1", "threads": 1} | settings)
        command = [sys.executable, "-m", "app"]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )

    return run


@pytest.fixture
def run_here(
    weights_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`run_here(**settings)`: as `run_app`, but in this process, where torch is imported already."""

    def run(**settings: object) -> "subprocess.CompletedProcess[str]":
        for name, value in ({"weights": weights_path, "host": "127.0.0.1", "threads": 1} | settings).items():
            monkeypatch.setenv(f"SEGMENT_{name.upper()}", str(value))
        monkeypatch.setattr(sys, "argv", ["app"])
        monkeypatch.setattr("app.logs.configure_logs", lambda _level: None)  # for all tests that follow
        code = service_process.main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess([], code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def start(weights_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Server]:
    """`start(stack, **settings)`: a server that is ready; the stack ends it."""

    def start_server(stack: ExitStack, **settings: object) -> Server:
        folder, port = tmp_path_factory.mktemp("server"), free_port()
        small = {"weights": weights_path, "host": "127.0.0.1", "threads": 1, "precision": "fp32", "tile": TILE}
        stdout, stderr = (stack.enter_context((folder / name).open("wb")) for name in ("stdout", "stderr"))
        environment = _environment(small | {"port": port} | settings)
        process = stack.enter_context(Forked("app", cwd=ROOT, env=environment, stdout=stdout, stderr=stderr))
        stack.callback(process.kill)
        server = Server(process, port, folder, _client_of(str(settings.get("host", "")), stack))
        _wait_until(server.is_ready)
        return server

    return start_server


@pytest.fixture
def serve(start: Callable[..., Server]) -> Iterator[Callable[..., Server]]:
    """`serve(**settings)`: a server of the test's own, with the engine that is built fastest."""
    with ExitStack() as stack:
        yield lambda **settings: start(stack, **({"engine": "torch"} | settings))


@pytest.fixture(scope="session")
def server(start: Callable[..., Server], weights_path: Path) -> Iterator[Server]:
    """One server for all tests that leave it as it was: open, small limits, its weights given as a folder."""
    with ExitStack() as stack:
        yield start(stack, weights=weights_path.parent, max_body_bytes=200_000, max_pixels=1_000_000)


@pytest.fixture(scope="session")
def locked_server(start: Callable[..., Server]) -> Iterator[Server]:
    """One server with the keys `first` and `second`, for all tests that leave it as it was."""
    with ExitStack() as stack:
        yield start(stack, engine="torch", api_keys="first,second")


@pytest.fixture(scope="session")
def serve_weights(
    start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Path], Server]]:
    """`serve_weights(path)`: one server for all tests, which serves a copy of this weights file from then on."""
    served = save_small_net(tmp_path_factory.mktemp("served") / "net.safetensors")
    with ExitStack() as stack:
        server = start(stack, weights=served, engine="torch", watch_s=0.05, tile=512)

        def serve_copy(path: Path) -> Server:
            shutil.copyfile(path, served.with_suffix(".next")).replace(served)
            sha256 = load_weights(served).sha256
            _wait_until(lambda: HTTP.get(f"{server.url}/model").json()["sha256"] == sha256)
            return server

        yield serve_copy


@pytest.fixture(scope="session")
def pixels() -> Pixels:
    """H x W, larger than a tile in one direction."""
    random = np.random.default_rng(0)
    image: Pixels = random.integers(0, 256, (150, 70), np.uint8)
    return image


@pytest.fixture(scope="session")
def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def classes_path(tmp_path: Path) -> Path:
    """A net of three classes, all of which it finds in noise."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        net = UNet(UNetConfig(width=4, depth=2, classes=3)).eval()
        net.outc.conv.bias -= net(torch.randn(1, 1, 64, 64)).mean((0, 2, 3))
    labels = {0: "background", 1: "nucleus", 2: "membrane"}
    description = Description(name="three", architecture=net.config, preprocessing=Preprocessing(), labels=labels)
    path = tmp_path / "three.safetensors"
    save_weights(path, net.state_dict(), description)
    return path


@pytest.fixture
def still_serving(server: Server, png: bytes) -> Iterator[None]:
    """Whatever the test did, the next request is answered and nothing went wrong unseen."""
    yield
    assert HTTP.post(f"{server.url}/segment", files={"file": png}).status_code == 200
    assert not [line for line in server.log if line["level"] == "error"]
    assert server.stderr == ""
