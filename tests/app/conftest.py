"""What the tests of `app` share: small nets, the real application in process, an engine that waits, image files."""

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from app import canary
from app.application import create_app
from app.local_scheduler import LocalScheduler
from app.service import Service
from app.settings import PREFIX, Settings
from model.engines.engine import Array, Engine
from model.inputs.preprocessing import Pixels, Preprocessing
from model.segmenter import Segmenter
from model.tiles import Window
from model.unet import UNet, UNetConfig
from model.weights_file import Description, save_weights

# With the two levels of the nets here (halo 28), images of more than 128 pixels a side need several tiles.
TILE = 128

PATIENCE_S = 60.0


class Response(Protocol):
    """As much of a response as the checks need; httpx's and the test client's are two classes."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Any: ...
    @property
    def content(self) -> bytes: ...
    @property
    def text(self) -> str: ...
    def json(self) -> Any: ...


class ReadySource:
    """A `NetSource` whose net is there already."""

    is_reloadable = True

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter, self.weights, self.engine = segmenter, segmenter.weights, segmenter.engine

    def load(self) -> Segmenter:
        return self._segmenter


class GatedEngine:
    """An engine that holds each batch until `gate` is open, and remembers the batches that came."""

    def __init__(self, engine: Engine, streams: int = 1) -> None:
        self._engine = engine
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self.batch_pixels, self.streams = TILE * TILE, streams
        self.gate = threading.Event()
        self.batches: list[Array] = []
        self.failures: list[BaseException | None] = []
        """What the next batches fail with, one each; None: with nothing."""

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Of each batch: its tiles, their height, their width."""
        return [(len(batch), *batch.shape[2:]) for batch in self.batches]

    @property
    def held_bytes(self) -> int:
        return self._engine.held_bytes

    def release_memory(self) -> None:
        self._engine.release_memory()

    def run(self, batch: Array, kept: Window | None = None) -> Array:
        self.batches.append(batch)
        assert self.gate.wait(PATIENCE_S)
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        return self._engine.run(batch, kept)


def _save_random_net(
    path: Path, *, seed: int = 0, channels: str = "grey", normalisation: str = "none", **config: Any
) -> Path:
    """Weights whose logits spread around 0, so that masks hold both values; the stored threshold is not a half."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        net = UNet(UNetConfig(**({"width": 4, "depth": 2} | config))).eval()
        logits = net(torch.rand(1, net.config.in_channels, 96, 96))
        net.outc.conv.weight /= logits.std(dim=(0, 2, 3))[:, None, None, None]
        assert net.outc.conv.bias is not None
        net.outc.conv.bias -= net(torch.rand(1, net.config.in_channels, 96, 96)).mean(dim=(0, 2, 3))
    preprocessing = Preprocessing.model_validate({"channels": channels, "normalisation": normalisation})
    description = Description(name=path.stem, architecture=net.config, preprocessing=preprocessing, threshold=0.4)
    save_weights(path, net.state_dict(), description)
    return path


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def weights_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of one grey channel and one class, threshold 0.4."""
    return _save_random_net(tmp_path_factory.mktemp("weights") / "small-net.safetensors")


@pytest.fixture(scope="session")
def classes_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of three classes."""
    return _save_random_net(tmp_path_factory.mktemp("weights") / "three-classes.safetensors", classes=3)


@pytest.fixture(scope="session")
def half_scale_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net that computes at half the scale of the image."""
    return _save_random_net(tmp_path_factory.mktemp("weights") / "half-scale.safetensors", depth=1, downsampling=2)


@pytest.fixture(scope="session")
def stored_channels_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net that takes images of three channels and no others."""
    path = tmp_path_factory.mktemp("weights") / "three-channels.safetensors"
    return _save_random_net(path, channels="stored", in_channels=3)


@pytest.fixture(scope="session")
def zscore_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of one grey channel whose input is z-scored."""
    return _save_random_net(tmp_path_factory.mktemp("weights") / "zscore-net.safetensors", normalisation="zscore")


@pytest.fixture(scope="session", autouse=True)
def _canaries_are_small() -> Iterator[None]:
    """A canary of 512 pixels a side takes most of an application's start; services in their own processes run it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canary, "SIDE", TILE)
        yield


@pytest.fixture(scope="session")
def make_settings(weights_path: Path) -> Callable[..., Settings]:
    """`make_settings(**fields)`: of a small service on the CPU, in fp32, on one thread."""

    def make(**fields: Any) -> Settings:
        small: dict[str, Any] = {
            "weights": weights_path,
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
            "tile": TILE,
        }
        return Settings(**(small | fields))

    return make


@pytest.fixture(scope="session")
def make_segmenter(weights_path: Path) -> Callable[..., Segmenter]:
    """`make_segmenter(path=weights_path)`: what the small service is compared with."""

    def make(path: Path = weights_path) -> Segmenter:
        return Segmenter.load(path, device="cpu", precision="fp32", tile=TILE)

    return make


@pytest.fixture(scope="session")
def segmenter(make_segmenter: Callable[..., Segmenter]) -> Segmenter:
    return make_segmenter()


@pytest.fixture(scope="session")
def start(make_settings: Callable[..., Settings]) -> Callable[..., TestClient]:
    """`start(stack, **settings fields)`: a client of the real application, ready; the stack ends it."""

    def start_app(stack: ExitStack, **fields: Any) -> TestClient:
        client = stack.enter_context(TestClient(create_app(make_settings(**fields))))
        _wait_until(lambda: client.get("/readyz").status_code == 200)
        return client

    return start_app


@pytest.fixture
def serve(start: Callable[..., TestClient]) -> Iterator[Callable[..., TestClient]]:
    """`serve(**settings fields)`: an application of the test's own, with the engine that is built fastest."""
    with ExitStack() as stack:
        yield lambda **fields: start(stack, **({"engine": "torch"} | fields))


@pytest.fixture(scope="session")
def client(start: Callable[..., TestClient]) -> Iterator[TestClient]:
    """One application for all tests that change nothing about it; a small limit on bytes."""
    with ExitStack() as stack:
        yield start(stack, max_body_bytes=400_000)


@pytest.fixture
def service_of() -> Callable[[TestClient], Service]:
    def service(client: TestClient) -> Service:
        assert isinstance(client.app, FastAPI)
        found: Service = client.app.state.service
        return found

    return service


def _segmenter(service: Service) -> Segmenter:
    scheduler = service.net.scheduler
    assert isinstance(scheduler, LocalScheduler)
    assert scheduler.segmenter is not None
    return scheduler.segmenter


@pytest.fixture
def hold(service_of: Callable[[TestClient], Service]) -> Iterator[Callable[[TestClient], GatedEngine]]:
    """`hold(client)`: puts a closed gate before the application's engine; it opens at the end of the test."""
    held: list[GatedEngine] = []

    def hold_engine(client: TestClient) -> GatedEngine:
        segmenter = _segmenter(service_of(client))
        segmenter.engine = engine = GatedEngine(segmenter.engine)
        held.append(engine)
        return engine

    yield hold_engine
    for engine in held:
        engine.gate.set()


@pytest.fixture
def gated(make_segmenter: Callable[..., Segmenter]) -> Iterator[tuple[Segmenter, GatedEngine]]:
    """A segmenter whose engine waits; the gate opens at the end of the test."""
    segmenter = make_segmenter()
    segmenter.engine = engine = GatedEngine(segmenter.engine)
    yield segmenter, engine
    engine.gate.set()


def _wait_until(condition: Callable[[], object]) -> None:
    last = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < last, "waited in vain"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], object]], None]:
    """`wait_until(condition)`: returns when it holds, fails after a minute."""
    return _wait_until


def _make_image(height: int, width: int, channels: int = 0, dtype: Any = np.uint8, seed: int = 0) -> Pixels:
    """Ramps and noise; H x W for no channels, else H x W x C."""
    random = np.random.default_rng(seed)
    ramp = np.add.outer(np.linspace(0, 0.5, height), np.linspace(0, 0.5, width))
    mixed = 0.5 * ramp[..., None] + 0.5 * random.random((height, width, channels or 1))
    pixels: Pixels = np.rint(mixed * np.iinfo(dtype).max).astype(dtype)
    return pixels if channels else pixels[:, :, 0]


@pytest.fixture(scope="session")
def make_image() -> Callable[..., Pixels]:
    """`make_image(height, width, channels=0, dtype=np.uint8, seed=0)`."""
    return _make_image


def _to_file(pixels: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file, written by Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def to_file() -> Callable[..., bytes]:
    """`to_file(pixels, kind="PNG", **Pillow's options)`."""
    return _to_file


@pytest.fixture(scope="session")
def png() -> bytes:
    """A small image file."""
    return _to_file(_make_image(24, 30))


@pytest.fixture(scope="session")
def read_png() -> Callable[[Response], Pixels]:
    """`read_png(response)`: the pixels of a 200 with a PNG of one channel, by Pillow, not by the code under test."""

    def read(response: Response) -> Pixels:
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "image/png"
        image = Image.open(io.BytesIO(response.content))
        assert image.format == "PNG"
        assert image.mode in {"L", "I;16"}
        pixels: Pixels = np.array(image)
        return pixels

    return read


@pytest.fixture(scope="session")
def check_problem() -> Callable[[Response, int], dict[str, Any]]:
    """`check_problem(response, status)`: it is a problem of that status, whole, and tells nothing of the inside."""

    def check(response: Response, status: int) -> dict[str, Any]:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        body: dict[str, Any] = response.json()
        assert body.keys() == {"type", "title", "status", "detail", "request_id"}
        assert body["status"] == status
        assert body["request_id"] == response.headers["x-request-id"]
        assert body["title"]
        assert body["detail"]
        for telltale in (str(Path.cwd()), "/tmp", "Traceback", "Error:", "Error(", "Exception", ".py", "0x"):  # noqa: S108
            assert telltale not in response.text
        return body

    return check
