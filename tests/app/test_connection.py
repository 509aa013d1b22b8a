"""Connections of the real server, with little patience."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from app import connection
from app.application import create_app
from app.connection import most_connections
from app.server import DrainingServer, make_config
from app.settings import Settings

PATIENCE_S = 0.4
WAIT_S = 30.0

Connect = Callable[[], socket.socket]


class Served:
    """A server in a thread of this process."""

    def __init__(self, weights: Path, most: int) -> None:
        app = create_app(Settings(weights=weights, engine="torch", host="127.0.0.1", port=1, threads=1))
        self.service: Any = app.state.service
        self.server = DrainingServer(make_config(app, most), self.service)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._thread = threading.Thread(target=self.server.run, args=([self._listener],))

    def start(self) -> None:
        self._thread.start()
        last = time.monotonic() + WAIT_S
        while not self.service.ready:
            assert time.monotonic() < last
            time.sleep(0.01)

    def end(self) -> None:
        self.server.should_exit = True
        self._thread.join(WAIT_S)

    def wait_for(self, counter: str, labels: dict[str, str]) -> None:
        last = time.monotonic() + WAIT_S
        while not self.service.metrics.registry.get_sample_value(counter, labels):
            assert time.monotonic() < last
            time.sleep(0.01)

    def rejected(self, reason: str) -> float:
        return self.service.metrics.registry.get_sample_value("segment_rejected_total", {"reason": reason}) or 0.0


@pytest.fixture
def serve(weights_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    monkeypatch.setattr(connection, "PATIENCE_S", PATIENCE_S)
    with ExitStack() as stack:

        def start(most: int = 1000) -> Served:
            served = Served(weights_path, most)
            served.start()
            stack.callback(served.end)
            return served

        yield start


def _connect(served: Served) -> socket.socket:
    return socket.create_connection(served.address, WAIT_S)


def _drip(client: socket.socket, first: bytes, drop: bytes = b"a") -> float:
    """Seconds until the server ends a connection that a byte comes through now and then."""
    started = time.monotonic()
    client.sendall(first)
    client.settimeout(0.05)
    while time.monotonic() < started + WAIT_S:
        try:
            if not client.recv(65536, socket.MSG_PEEK) or client.recv(65536).endswith(b"}"):
                return time.monotonic() - started
        except TimeoutError:
            client.sendall(drop)
        except ConnectionError:
            return time.monotonic() - started
    raise AssertionError("never ended")


def _answer(client: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the one answer before the connection ends."""
    client.settimeout(WAIT_S)
    received = b""
    while data := client.recv(65536):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body else {}


HALF_A_BODY = b"POST /segment HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n\x89PNG"


@pytest.mark.parametrize(
    "first",
    [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nX-Long: ", HALF_A_BODY],
    ids=["nothing", "a line", "headers", "a body"],
)
def test_a_slow_client_gets_a_408_and_is_closed(serve: Callable[..., Served], first: bytes):
    served = serve()
    with _connect(served) as client:
        client.sendall(first)
        status, problem = _answer(client)
    assert status == problem["status"] == 408
    assert problem["request_id"]
    if first == HALF_A_BODY:  # the others have not come as far as the application
        served.wait_for("segment_requests_total", {"method": "POST", "route": "/segment", "status": "408"})
    with _connect(served) as client:
        assert _drip(client, first or b"GET /") < PATIENCE_S + 5
    assert served.rejected("slow client") == 2


def test_a_request_that_keeps_coming_may_take_its_time(
    serve: Callable[..., Served], png: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "LEAST_BYTES", 1)
    served = serve()
    body = png + bytes(60)  # what follows an image is none of its business
    with _connect(served) as client:
        client.sendall(b"POST /segment HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: image/png\r\n")
        client.sendall(b"Content-Length: %d\r\n\r\n" % len(body))
        client.sendall(body[:-60])
        for index in range(60):
            client.sendall(body[len(body) - 60 + index :][:1])
            time.sleep(PATIENCE_S / 20)
        client.settimeout(WAIT_S)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_slow_body_after_the_answer_closes_the_connection_silently(serve: Callable[..., Served]):
    served = serve()
    with _connect(served) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        client.settimeout(WAIT_S)
        received = b""
        while data := client.recv(65536):
            received += data
    assert received.count(b"HTTP/1.1") == 1
    assert received.startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_is_not_taken_ends_the_connection(serve: Callable[..., Served]):
    served = serve()
    listing = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.2)
        client.connect(served.address)
        last = time.monotonic() + WAIT_S
        while not served.rejected("slow client"):
            assert time.monotonic() < last
            try:
                client.sendall(listing * 20)  # and never reads
            except (TimeoutError, ConnectionError):
                time.sleep(0.05)
    assert not served.server.server_state.connections


def test_an_answer_that_is_taken_slowly_comes_whole(serve: Callable[..., Served]):
    served = serve()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(WAIT_S)
        client.connect(served.address)
        size = _size_of_answer(client, "keep-alive")
        client.sendall(LISTING % b"keep-alive" * 200 + LISTING % b"close")
        taken = 0
        slow_until = time.monotonic() + 6 * PATIENCE_S
        while data := client.recv(16384):
            taken += len(data)
            if time.monotonic() < slow_until:
                time.sleep(PATIENCE_S / 8)  # eight times as fast as the limit
        assert taken > 200 * size
    assert not served.rejected("slow client")


LISTING = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\nConnection: %s\r\n\r\n"


def _size_of_answer(client: socket.socket, connection: str) -> int:
    """Bytes of the body of an answer that is read to its end."""
    client.sendall(LISTING % connection.encode())
    response = HTTPResponse(client)
    response.begin()
    return len(response.read())


def test_headers_have_a_limit(serve: Callable[..., Served]):
    with _connect(serve()) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        for _ in range(3):
            client.sendall(b"X-More: " + b"a" * 30_000 + b"\r\n")
            time.sleep(0.02)
        status, problem = _answer(client)
    assert status == 431
    assert "65536" in problem["detail"]


def test_requests_that_are_not_http_get_a_problem(serve: Callable[..., Served]):
    with _connect(serve()) as client:
        client.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        status, problem = _answer(client)
    assert (status, problem["detail"]) == (400, "The request is not valid HTTP.")


def test_bytes_after_a_complete_request_do_not_lose_its_answer(serve: Callable[..., Served], png: bytes):
    head = b"POST /segment HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(png)
    with _connect(serve()) as client:
        client.sendall(head + png + b"\x00\x01 no HTTP")
        client.settimeout(WAIT_S)
        received = b""
        while data := client.recv(65536):
            received += data
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.count(b"HTTP/1.1") == 1


def test_too_many_connections_close_the_one_that_is_longest_idle(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "PATIENCE_S", WAIT_S)
    served = serve(most=5)
    with ExitStack() as stack:
        idle = []
        for _ in range(5):
            idle.append(stack.enter_context(_connect(served)))
            time.sleep(0.05)  # the loop's clock counts milliseconds
        good = stack.enter_context(_connect(served))
        good.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert _answer(good)[0] == 200
        idle[0].settimeout(WAIT_S)
        with suppress(ConnectionResetError):
            assert idle[0].recv(1) == b""


def test_there_may_be_as_many_connections_as_files():
    resource = pytest.importorskip("resource")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = most_connections()
    assert 0 < most <= connection.MAX_CONNECTIONS
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= soft
