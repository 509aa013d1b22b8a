"""Parses requests that offer an upgrade to another protocol as plain HTTP/1.1.

Java's HttpClient and `curl --http2` add `Upgrade: h2c` to each request. A server may ignore the offer (RFC 9110,
section 7.8). httptools drops the body of such a request, because no body would follow an accepted upgrade.
"""

from typing import Protocol

import httptools

_Headers = list[tuple[bytes, bytes]]


class _Receiver(Protocol):
    """uvicorn's protocol, which collects the head in callbacks of httptools' parser."""

    url: bytes
    headers: _Headers


class RequestParser:
    """httptools' parser, except that it parses a head with an `Upgrade` header again, without that header."""

    def __init__(self, receiver: _Receiver) -> None:
        self._receiver = receiver
        self._parser = _make_parser(receiver)

    @property
    def skips(self) -> bool:
        """Returns True for a head that will be parsed again; the receiver must ignore its callbacks."""
        return self.should_upgrade() and self.get_method() != b"CONNECT"

    def feed_data(self, data: bytes) -> None:
        """Parses the next bytes of a connection. Raises HttpParserError; HttpParserUpgrade after a CONNECT request."""
        rest = memoryview(data)
        while rest:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                if not self.skips:
                    raise
                head = self._head()
                self._parser = _make_parser(self._receiver)
                self._parser.feed_data(head)
                rest = rest[offer.args[0] :]
            else:
                return

    def should_upgrade(self) -> bool:
        return self._parser.should_upgrade()

    def should_keep_alive(self) -> bool:
        return self._parser.should_keep_alive()

    def get_method(self) -> bytes:
        return self._parser.get_method()

    def get_http_version(self) -> str:
        return self._parser.get_http_version()

    def _head(self) -> bytes:
        """Returns the parsed head without its `Upgrade` header."""
        version = self.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.get_method(), self._receiver.url, version)]
        lines += [b"%b: %b" % header for header in self._receiver.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])


def _make_parser(receiver: _Receiver) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(receiver)
    # uvicorn sets this for its own parser
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
