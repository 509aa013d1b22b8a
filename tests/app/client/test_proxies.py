import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from app.client.clients import Client, ServiceError
from app.client.proxies import proxy_hint, with_hint
from tests.support.servers import free_port


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_without_a_proxy_there_is_no_hint():
    assert proxy_hint("http://lab-server:8000/segment") == ""


def test_the_hint_names_proxy_variable_and_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@proxy.example:3128")
    assert proxy_hint("http://lab-server:8000/segment") == (
        "The request went through the proxy proxy.example:3128 of HTTP_PROXY; NO_PROXY=lab-server makes it go directly."
    )
    assert proxy_hint("https://lab-server/segment") == ""


def test_hosts_of_no_proxy_have_no_hint(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "lab-server,other")
    assert proxy_hint("http://lab-server:8000/segment") == ""


def test_an_error_without_a_request_is_left_alone():
    error = httpx.ConnectError("no")
    assert with_hint(error) is error


def test_a_proxy_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    client = Client("http://lab-server:8000", retries=0)
    with (
        client,
        pytest.raises(httpx.TransportError, match=r"proxy 127\.0\.0\.1:\d+ of HTTP_PROXY; NO_PROXY=lab-server"),
    ):
        client.segment(b"x")


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that gives one answer, whatever it is asked; its port."""

    def answer_once() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        pool.submit(answer_once)
        yield listener.getsockname()[1]


def test_the_answer_of_a_proxy_is_told_from_that_of_the_service(monkeypatch: pytest.MonkeyPatch):
    forbidden = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno"
    with answering(forbidden) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        client = Client("http://lab-server:8000", retries=0)
        with client, pytest.raises(ServiceError, match=r"^403 Forbidden\. The request went through the proxy 127"):
            client.segment(b"x")
