"""Requests that offer another protocol are read as what they also are: HTTP/1.1."""

from collections.abc import Sequence

import httptools
import pytest

from app.request_parser import RequestParser

OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\nUpgrade: h2c\r\n"
POST = b"POST /segment?threshold=0.3 HTTP/1.1\r\nHost: a\r\n"
SIZED = b"Content-Length: 5\r\n\r\nhello"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


class Received:
    """Collects requests as uvicorn's protocol does."""

    def __init__(self) -> None:
        self.parser = RequestParser(self)
        self.url, self.headers = b"", list[tuple[bytes, bytes]]()
        self.heads, self.bodies = list[tuple[bytes, bytes, str]](), list[bytes]()
        self.keep_alive = list[bool]()
        self.complete = 0

    def on_message_begin(self) -> None:
        self.url, self.headers = b"", []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if not self.parser.skips:
            self.heads.append((self.parser.get_method(), self.url, self.parser.get_http_version()))
            self.keep_alive.append(self.parser.should_keep_alive())
            self.bodies.append(b"")

    def on_body(self, body: bytes) -> None:
        self.bodies[-1] += body

    def on_message_complete(self) -> None:
        self.complete += not self.parser.skips


def _read(*pieces: bytes) -> Received:
    received = Received()
    for piece in pieces:
        received.parser.feed_data(piece)
    return received


def _bytes_of(data: bytes) -> Sequence[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("offer", [OFFER, b"Connection: upgrade\r\nUpgrade: websocket\r\n", b""])
@pytest.mark.parametrize("end", [SIZED, CHUNKED])
@pytest.mark.parametrize("cut", [lambda data: [data], _bytes_of], ids=["at once", "byte by byte"])
def test_the_body_arrives_whatever_is_offered(offer, end, cut):
    received = _read(*cut(POST + offer + end))
    assert received.heads == [(b"POST", b"/segment?threshold=0.3", "1.1")]
    assert received.bodies == [b"hello"]
    assert received.complete == 1


def test_all_headers_but_the_offer_arrive():
    received = _read(POST + OFFER + b"X-Twice: 1\r\nX-Twice: 2\r\n" + SIZED)
    names = [name for name, _ in received.headers]
    assert names == [b"host", b"connection", b"http2-settings", b"x-twice", b"x-twice", b"content-length"]


def test_requests_in_a_row_are_all_read():
    received = _read((POST + OFFER + SIZED + POST + SIZED) * 500)
    assert received.bodies == [b"hello"] * 1000
    assert received.complete == 1000


def test_the_connection_ends_after_a_request_that_wants_it_so():
    received = _read(POST + OFFER + SIZED, POST + b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n" + SIZED)
    assert received.keep_alive == [True, False]


def test_connect_is_no_offer():
    with pytest.raises(httptools.HttpParserUpgrade):
        _read(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n")


def test_two_lengths_are_refused_with_an_offer_too():
    with pytest.raises(httptools.HttpParserError):
        _read(POST + OFFER + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nhello")
    with pytest.raises(httptools.HttpParserError):
        _read(POST + OFFER + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello")
