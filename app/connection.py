"""uvicorn's HTTP protocol, plus limits that uvicorn lacks: slow clients, size of the head, number of connections.

A client that must send (the head of a request, the rest of its body) or receive (a response) has to move some bytes
every few seconds; otherwise the server closes the connection. So thousands of slow clients cost little.
"""

import asyncio
import socket
import sys
import uuid
from array import array
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.problems import Problem, problem_response
from app.request_parser import RequestParser
from app.service import Service

if sys.platform != "win32":
    import fcntl
    import termios

# LEAST_BYTES must move in PATIENCE_S seconds: 1 kB/s, which the slowest mobile networks reach.
PATIENCE_S, LEAST_BYTES = 10.0, 10_000

# Bytes of the request line and the headers; browsers send a few kilobytes.
MAX_HEAD_BYTES = 65_536

# Connections open at once, if the system allows the process this number of files plus SPARE_FILES.
MAX_CONNECTIONS, SPARE_FILES = 4096, 128


class IdleTimer:
    """Calls `late` between `start` and `stop` whenever fewer than LEAST_BYTES have moved in PATIENCE_S.

    `moved` returns the number of bytes moved so far.
    """

    def __init__(self, moved: Callable[[], int], late: Callable[[], None]) -> None:
        self._moved, self._late = moved, late
        self._timer: asyncio.TimerHandle | None = None
        self._before = 0
        self.since = 0.0
        """On the loop's clock."""

    @property
    def running(self) -> bool:
        return self._timer is not None

    def start(self) -> None:
        if not self.running:
            self.since = asyncio.get_running_loop().time()
            self._wait()

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _wait(self) -> None:
        self._before = self._moved()
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._look)

    def _look(self) -> None:
        enough = self._moved() - self._before >= LEAST_BYTES
        self._wait()
        if not enough:
            self._late()


class PatientProtocol(HttpToolsProtocol):
    """The protocol with limits, see the module."""

    def __init__(self, service: Service, most: int, *args: Any, **kwargs: Any) -> None:
        """Sets the limit of connections.

        Args:
            service: The service, whose metrics count refusals.
            most: Connections open at once. Beyond, the server closes the idle connection that has waited longest for a
                request.
            *args: Arguments of uvicorn's protocol.
            **kwargs: Arguments of uvicorn's protocol.
        """
        super().__init__(*args, **kwargs)
        self.parser: RequestParser = RequestParser(self)  # type: ignore[assignment]  # has the methods that uvicorn calls
        self._service, self._most = service, most
        self._received = self._head_bytes = 0
        self._in_head = True
        self._asked: Scope = {"path": "", "state": {}}  # as much as is known of the request that is coming in
        self.sending = IdleTimer(lambda: self._received, self._on_slow_request)
        self.taking = IdleTimer(lambda: -self._untaken(), self._on_slow_reader)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that `pause_writing` tells of all that is not taken yet
        self.sending.start()
        if len(self.connections) > self._most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self.sending.stop()
        self.taking.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            detail = f"The request's line and headers are longer than {MAX_HEAD_BYTES} bytes."
            self._refuse(Problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._asked = {"path": "", "state": {}}
        self.sending.start()

    def on_headers_complete(self) -> None:
        if self.parser.skips:
            return
        self._in_head, self._asked = False, cast("Scope", self.scope)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.parser.skips:
            return
        self.sending.stop()
        self._in_head, self._head_bytes = True, 0  # what comes next is another's
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.taking.start()

    def resume_writing(self) -> None:
        self.taking.stop()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are not for users
        self._refuse(Problem(HTTPStatus.BAD_REQUEST, "The request is not valid HTTP."))

    def _untaken(self) -> int:
        """Returns the bytes that the client has not taken, here and in the kernel, which sends in small steps."""
        return self.transport.get_write_buffer_size() + _bytes_in_kernel(self.transport.get_extra_info("socket"))

    def _on_slow_request(self) -> None:
        if self.flow.read_paused:  # it is us who do not read
            return
        self._service.metrics.rejected.labels("slow client").inc()
        detail = f"The request came at less than {LEAST_BYTES} bytes in {PATIENCE_S:g} s."
        self._refuse(Problem(HTTPStatus.REQUEST_TIMEOUT, detail))

    def _on_slow_reader(self) -> None:
        self._service.metrics.rejected.labels("slow client").inc()
        self.transport.abort()

    def _make_room(self) -> None:
        """Ends the connection that has owed a request for the longest: the new one if all others are being served."""
        owing = [other for other in self.connections if isinstance(other, PatientProtocol) and other.sending.running]
        min(owing, key=lambda other: other.sending.since).transport.abort()

    def _refuse(self, problem: Problem) -> None:
        """Ends the connection, with an answer if it can be one to the request that has not come to its end."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if self.transport.is_closing():
            self.transport.abort()
        elif cycle and self._in_head and not cycle.response_complete:
            # the request before has come whole and is being worked on: its answer is the last
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        elif self._in_head or not (cycle and cycle.response_started):
            self._asked["state"]["refused"] = problem.status.value  # what the log is to say of it
            self.transport.write(self._answer(problem))
        self.transport.close()

    def _answer(self, problem: Problem) -> bytes:
        request_id = self._asked["state"].setdefault("request_id", uuid.uuid4().hex)
        response = problem_response(problem, self._asked)
        headers = [*self.server_state.default_headers, *response.raw_headers]
        headers += [(b"connection", b"close"), (b"x-request-id", request_id.encode())]
        status = f"HTTP/1.1 {problem.status.value} {problem.status.phrase}\r\n".encode()
        lines = [b"%b: %b\r\n" % header for header in headers]
        return b"".join([status, *lines, b"\r\n", bytes(response.body)])


def most_connections() -> int:
    """Returns the number of connections that the file limit allows, after raising that limit as far as needed."""
    wanted = MAX_CONNECTIONS + SPARE_FILES
    try:
        import resource
    except ImportError:  # not a Unix
        return MAX_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(MAX_CONNECTIONS, soft - SPARE_FILES) if soft >= 0 else MAX_CONNECTIONS


def _bytes_in_kernel(connected: socket.socket | None) -> int:
    """Returns the bytes of a socket that the other side has not acknowledged; 0 where the system does not tell."""
    if sys.platform == "win32" or connected is None:
        return 0
    unsent = array("i", [0])
    try:
        fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, unsent)
    except OSError:
        return 0
    return unsent[0]
