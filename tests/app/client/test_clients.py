"""The client against the real application, over real connections."""

import asyncio
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image

from app.application import create_app
from app.client.clients import AsyncClient, Client, Overloaded, ServiceError
from app.client.exchange import JITTER
from app.settings import Settings
from model.inputs.preprocessing import Pixels
from model.outputs.objects import find_regions
from model.outputs.overlay import draw_overlay
from model.segmenter import Segmenter

MakeImage = Callable[..., Pixels]
MakeSettings = Callable[..., Settings]
WaitUntil = Callable[[Callable[[], object]], None]

# pycocotools hands numpy arrays of the kind before numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class AwaitedClient:
    """An `AsyncClient` to be used like a `Client`, each call in an event loop of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._arguments, self._options = arguments, options

    def __getattr__(self, method: str) -> Callable[..., Any]:
        async def call(*arguments: Any, **options: Any) -> Any:
            async with AsyncClient(*self._arguments, **self._options) as client:
                return await getattr(client, method)(*arguments, **options)

        return lambda *arguments, **options: asyncio.run(call(*arguments, **options))

    def __enter__(self) -> "AwaitedClient":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@contextmanager
def _listening(app: Any, port: int = 0) -> Iterator[str]:
    """The URL of an ASGI application served over HTTP from a thread."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def serve_http(make_settings: MakeSettings, wait_until: WaitUntil) -> Callable[..., tuple[str, FastAPI]]:
    """`serve_http(stack, **settings fields)`: the application, ready, and its URL; the stack ends it."""

    def serve(stack: ExitStack, **fields: Any) -> tuple[str, FastAPI]:
        app = create_app(make_settings(**fields))
        url = stack.enter_context(_listening(app))
        with Client(url) as client:
            wait_until(client.ready)
        return url, app

    return serve


@pytest.fixture(scope="session")
def url(serve_http: Callable[..., tuple[str, FastAPI]]) -> Iterator[str]:
    with ExitStack() as stack:
        yield serve_http(stack)[0]


@pytest.fixture(params=[Client, AwaitedClient])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """`connect(url, **options)`: a client; each test runs with the plain and with the awaited one."""
    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(request.param(url, **options))


class Waited:
    """The waits of clients, which last no longer than what is done `meanwhile`."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.meanwhile()

    async def asyncio_sleep(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waited:
    waited = Waited()
    monkeypatch.setattr("app.client.clients.time", SimpleNamespace(sleep=waited.sleep))
    monkeypatch.setattr(
        "app.client.clients.asyncio", SimpleNamespace(sleep=waited.asyncio_sleep, to_thread=asyncio.to_thread)
    )
    return waited


@pytest.mark.parametrize(
    ("channels", "dtype"), [(0, "uint8"), (0, "uint16"), (1, "uint8"), (3, "uint8"), (4, "uint16")]
)
def test_an_array_becomes_the_segmenters_mask(
    connect: Callable[..., Client], url: str, segmenter: Segmenter, make_image: MakeImage, channels: int, dtype: str
):
    image = make_image(150, 70, channels, dtype)
    mask = connect(url).segment(image)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, segmenter.mask(image))
    assert np.array_equal(connect(url).segment(image[::-1, ::-2]), segmenter.mask(image[::-1, ::-2]))


def test_a_path_and_bytes_give_what_the_array_gives(
    connect: Callable[..., Client], url: str, segmenter: Segmenter, make_image: MakeImage, to_file: Any, tmp_path: Path
):
    image = make_image(40, 50)
    path = tmp_path / "Zähne 1.bmp"
    path.write_bytes(to_file(image, "BMP"))
    for given in (path, str(path), path.read_bytes()):
        assert np.array_equal(connect(url).segment(given), segmenter.mask(image))
    assert connect(url).segment(path, "coco")["images"][0]["file_name"] == "Zähne 1.bmp"


def test_each_output_comes_as_what_it_is(
    connect: Callable[..., Client], url: str, segmenter: Segmenter, make_image: MakeImage
):
    image, client = make_image(40, 50), connect(url)
    probability = client.segment(image, "probability")
    assert probability.dtype == np.float32
    assert np.abs(probability - segmenter.probabilities(image)[0]).max() <= 0.5 / 65535 + 1e-7
    instances = client.segment(image, output="instances")
    assert instances.dtype == np.uint16
    assert np.array_equal(instances, find_regions(segmenter.mask(image)))
    overlay = client.segment(image, "overlay")
    assert np.array_equal(overlay, draw_overlay(image, find_regions(segmenter.mask(image)), segmenter.mask(image)))
    assert not np.array_equal(overlay, overlay[:, :, ::-1])
    assert len(client.segment(image, "geojson")["features"]) == instances.max()
    assert len(client.segment(image, "coco")["annotations"]) == instances.max()
    table = client.segment(image, "table")
    assert table["area_px"].tolist() == np.bincount(instances.ravel())[1:].tolist()
    assert (table["label"].dtype, table["solidity"].dtype, table["touches_border"].dtype) == (int, float, bool)
    assert table["class"][0] == "foreground"
    assert len(client.segment(image, "table", min_area=10**6)["label"]) == 0
    with zipfile.ZipFile(io.BytesIO(client.segment(image, "rois"))) as archive:
        assert len(archive.namelist()) == instances.max()


def test_a_threshold_of_ones_own(connect: Callable[..., Client], url: str, segmenter: Segmenter, make_image: MakeImage):
    image = make_image(40, 50)
    mask = connect(url).segment(image, threshold=0.7)
    assert np.array_equal(mask, segmenter.mask(image, 0.7))
    assert not np.array_equal(mask, segmenter.mask(image))


def test_the_probability_of_a_class(
    serve_http: Callable[..., tuple[str, FastAPI]],
    make_segmenter: Callable[..., Segmenter],
    classes_path: Path,
    make_image: MakeImage,
):
    image = make_image(40, 50)
    with ExitStack() as stack:
        client = stack.enter_context(Client(serve_http(stack, weights=classes_path)[0]))
        probability = client.segment(image, "probability", class_index=2)
    expected = make_segmenter(classes_path).probabilities(image)[2]
    assert np.abs(probability - expected).max() <= 0.5 / 65535 + 1e-7


@pytest.mark.parametrize("output", ["mask", "probability", "overlay"])
def test_a_stack_becomes_a_list_of_its_pages(
    connect: Callable[..., Client], url: str, make_image: MakeImage, tmp_path: Path, output: Any
):
    pages = [make_image(40, 50, seed=seed) for seed in range(2)] + [make_image(30, 20)]
    first, *others = map(Image.fromarray, pages)
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    client = connect(url)
    results = client.segment(tmp_path / "stack.tif", output)
    assert isinstance(results, list)
    for result, page in zip(results, pages, strict=True):
        assert np.array_equal(result, client.segment(page, output))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5)),
        np.zeros((4, 5), np.float32),
        np.zeros((4, 5), np.bool_),
        np.zeros((4, 5, 2), np.uint8),
        np.zeros((0, 5), np.uint8),
        np.zeros(5, np.uint8),
        np.zeros((2, 4, 5, 3), np.uint8),
    ],
    ids=lambda array: f"{array.shape} {array.dtype}",
)
def test_an_array_that_is_not_an_image_is_never_sent(connect: Callable[..., Client], array: Any):
    with pytest.raises(ValueError, match=r"an image is H x W or H x W x 1, 3 or 4, uint8 or uint16, not \("):
        connect("http://127.0.0.1:9").segment(array)


def test_model_and_ready_tell_of_the_service(connect: Callable[..., Client], url: str, segmenter: Segmenter):
    client = connect(url)
    assert client.ready() is True
    told = client.model()
    assert (told["name"], told["sha256"]) == ("small-net", segmenter.weights.sha256)


@pytest.fixture(scope="module")
def several(
    serve_http: Callable[..., tuple[str, FastAPI]],
    weights_path: Path,
    classes_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The URL of a service that has the nets `small-net`, which is the default, and `three-classes`."""
    folder = tmp_path_factory.mktemp("several")
    for age, path in enumerate((weights_path, classes_path)):
        os.utime(shutil.copy(path, folder), (1000 - age, 1000 - age))
    with ExitStack() as stack:
        yield serve_http(stack, weights=folder, labels=tmp_path_factory.mktemp("labels"), watch_s=0)[0]


def test_models_lists_all_nets_the_default_first(connect: Callable[..., Client], several: str):
    client = connect(several)
    models = client.models()
    assert [model["name"] for model in models] == ["small-net", "three-classes"]
    assert models[0] == client.model()


def test_an_image_is_segmented_by_the_net_of_a_name(
    connect: Callable[..., Client],
    several: str,
    make_segmenter: Callable[..., Segmenter],
    classes_path: Path,
    make_image: MakeImage,
):
    client, image, segmenter = connect(several), make_image(40, 50), make_segmenter(classes_path)
    assert np.array_equal(client.segment(image, model="three-classes"), segmenter.mask(image))
    assert np.array_equal(client.segment(image), client.segment(image, model="small-net"))
    stack = np.stack([image, image[::-1]])
    expected = [segmenter.mask(page) for page in stack]
    assert np.array_equal(client.segment_stack(stack, model="three-classes"), expected)
    with pytest.raises(ServiceError, match="the models are small-net, three-classes"):
        client.segment(image, model="nothing")


def test_a_label_is_checked_against_the_net_of_a_name(
    connect: Callable[..., Client], several: str, make_image: MakeImage
):
    image, label = make_image(40, 50), np.full((40, 50), 2, np.uint8)
    assert connect(several).save_labels(image, label, model="three-classes")["pairs"] == 1
    with pytest.raises(ServiceError, match="classes"):
        connect(several).save_labels(image, label + 1, model="three-classes")


def test_an_error_says_what_the_problem_says(connect: Callable[..., Client], url: str, png: bytes):
    with pytest.raises(ServiceError) as caught:
        connect(url).segment(png[:-20])
    error = caught.value
    assert (error.status, error.title) == (400, "Bad Request")
    assert error.detail == "The PNG file is broken or truncated."
    assert len(error.request_id) == 32
    assert str(error) == "400 Bad Request. The PNG file is broken or truncated."
    with pytest.raises(ServiceError, match="threshold"):
        connect(url).segment(png, threshold=3)


def test_a_key_is_sent_and_a_wrong_one_refused(
    connect: Callable[..., Client], serve_http: Callable[..., tuple[str, FastAPI]], png: bytes
):
    with ExitStack() as stack:
        guarded, _ = serve_http(stack, api_keys="hush-one,hush-two")
        assert np.shape(connect(guarded, api_key="hush-two").segment(png)) == (24, 30)
        for options in ({}, {"api_key": "hush-three"}):
            with pytest.raises(ServiceError) as caught:
                connect(guarded, **options).segment(png)
            assert caught.value.status == 401
            assert "hush" not in str(caught.value)


class Busy:
    """Answers the first requests with 503, the others with the mask of a white pixel."""

    def __init__(self, times: int, retry_after: str = "7", kind: str = "application/problem+json") -> None:
        self.left, self.bodies = times, list[int]()
        self.headers = [(b"retry-after", retry_after.encode()), (b"content-type", kind.encode())]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
        self.bodies.append(size)
        self.left -= 1
        if self.left >= 0:
            body = b'{"title": "Service Unavailable", "detail": "Busy.", "request_id": "a-1"}'
            await send({"type": "http.response.start", "status": 503, "headers": self.headers})
        else:
            buffer = io.BytesIO()
            Image.new("L", (1, 1), 255).save(buffer, "PNG")
            body = buffer.getvalue()
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


def test_after_503_the_same_is_sent_again_when_the_service_says(
    connect: Callable[..., Client], waits: Waited, png: bytes
):
    with _listening(busy := Busy(2)) as url:
        assert np.array_equal(connect(url).segment(png), [[255]])
    assert len(busy.bodies) == 3
    assert len(set(busy.bodies)) == 1
    assert all(7 <= wait <= 7 * (1 + JITTER) for wait in waits.seconds)
    assert len(set(waits.seconds)) == len(waits.seconds) == 2


@pytest.mark.parametrize(
    ("options", "attempts"),
    [({"retries": 0}, 1), ({"retries": 2}, 3), ({"longest_wait": 27}, 4), ({"longest_wait": 5}, 1)],
)
def test_retries_end_after_a_count_or_a_total_wait(
    connect: Callable[..., Client], waits: Waited, options: dict[str, Any], attempts: int
):
    with _listening(busy := Busy(99)) as url, pytest.raises(Overloaded) as caught:
        connect(url, **options).model()
    assert len(busy.bodies) == attempts == len(waits.seconds) + 1
    assert (caught.value.status, caught.value.detail, caught.value.request_id) == (503, "Busy.", "a-1")


def test_without_a_usable_retry_after_waits_grow(connect: Callable[..., Client], waits: Waited, png: bytes):
    with _listening(Busy(3, "Wed, 25 Nov 2026 16:00:00 GMT", "text/html")) as url:
        connect(url).segment(png)
    for wait, least in zip(waits.seconds, (0.5, 1, 2), strict=True):
        assert least <= wait <= least * (1 + JITTER)


def test_an_error_from_somebody_else_is_told_as_far_as_it_goes(connect: Callable[..., Client], waits: Waited):
    with _listening(Busy(99, "1", "text/html")) as url, pytest.raises(Overloaded) as caught:
        connect(url, retries=1).model()
    assert str(caught.value) == "503 Service Unavailable."
    assert len(waits.seconds) == 1


def test_a_real_overload_passes(
    connect: Callable[..., Client],
    serve_http: Callable[..., tuple[str, FastAPI]],
    hold: Callable[..., Any],
    waits: Waited,
    wait_until: WaitUntil,
    make_image: MakeImage,
    segmenter: Segmenter,
):
    small, large = make_image(24, 30), make_image(1000, 1000, dtype=np.uint16)
    with ExitStack() as stack:
        url, app = serve_http(stack, max_queue_pixels=1000)
        engine = hold(SimpleNamespace(app=app))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        first = pool.submit(connect(url).segment, small)
        wait_until(lambda: engine.batches)

        def get_free() -> None:
            engine.gate.set()
            first.result()

        waits.meanwhile = get_free
        assert np.array_equal(connect(url).segment(large), segmenter.mask(large))
    assert len(waits.seconds) >= 1
    assert np.array_equal(first.result(), segmenter.mask(small))


def test_an_unreachable_service_is_an_error_without_wait(connect: Callable[..., Client], waits: Waited, png: bytes):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    assert connect(url).ready() is False
    with pytest.raises(httpx.ConnectError):
        connect(url).segment(png)
    assert waits.seconds == []
    with ExitStack() as stack:
        waits.meanwhile = lambda: stack.enter_context(_listening(Busy(0), port))
        assert np.array_equal(connect(url, retry_refused=True).segment(png), [[255]])
    assert len(waits.seconds) == 1


def test_a_connection_that_breaks_off_is_tried_again(connect: Callable[..., Client], waits: Waited, png: bytes):
    def break_off(attempts: int) -> None:
        for _ in range(attempts):
            listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        breaking = pool.submit(break_off, 3)
        with pytest.raises(httpx.TransportError):
            connect(f"http://127.0.0.1:{listener.getsockname()[1]}", retries=2).segment(png)
        breaking.result()
    assert len(waits.seconds) == 2


def test_the_client_imports_nothing_of_the_service():
    command = [sys.executable, "-c", "import sys, app.client; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {"torch", "fastapi", "starlette", "uvicorn"}.isdisjoint(done.stdout.split())


def test_labels_are_saved_with_their_image(
    connect: Callable[..., Client],
    serve_http: Callable[..., tuple[str, FastAPI]],
    make_image: MakeImage,
    tmp_path: Path,
):
    image, label = make_image(20, 30, 3), np.eye(20, 30, dtype=np.uint16) * 700
    with ExitStack() as stack:
        client = connect(serve_http(stack, labels=tmp_path, engine="torch")[0])
        first = client.save_labels(image, label, "mouse 3")
        (stored,) = (tmp_path / "label").iterdir()
        assert np.array_equal(np.array(Image.open(stored)), label)
        assert '"name": "mouse 3"' in next((tmp_path / "provenance").iterdir()).read_text()
        again = client.save_labels((tmp_path / "image" / stored.name).read_bytes(), np.zeros((20, 30), np.uint8))
        assert first == {"id": again["id"], "replaced": False, "pairs": 1}
        assert again["replaced"] is True
        with pytest.raises(ServiceError, match="both must have the same size") as caught:
            client.save_labels(image, label[1:])
        assert caught.value.status == 422


def test_a_service_that_saves_no_labels_says_so(connect: Callable[..., Client], url: str, make_image: MakeImage):
    image = make_image(4, 4)
    with pytest.raises(ServiceError, match="SEGMENT_LABELS") as caught:
        connect(url).save_labels(image, image)
    assert caught.value.status == 404
