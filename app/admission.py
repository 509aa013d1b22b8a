"""What happens to a request before its body is read, in plain ASGI.

Who sent it, whether there is room for it, how large it may be. A refused request costs a few header look-ups;
nothing behind this module ever sees it.
"""

import asyncio
import contextlib
import hmac
import logging
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics
from app.problems import Problem, not_ready_problem, overload_problem, path_of, problem_response
from app.room import FIRST_GUESS_S, Overloaded
from app.service import Service

log = logging.getLogger("app.access")

# Letters and signs that no log, header or shell trips over.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

# What the log says of a client that left before it had sent everything; nobody gets it as an answer.
CLIENT_CLOSED = 499

# How long a client that was refused before its body was read may go on sending it, seconds.
LINGER_S, LINGER_UNREAD_S = 2.0, 0.5

# The routes of the calls that cost something: what admission is about. Their patterns are made as the router makes its
# own, or a path that both read differently (one that ends with a line feed) would get past.
_COSTLY = ("/segment", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
GUARDED = {route: compile_path(route)[0] for route in _COSTLY}
METRICS = compile_path("/metrics")[0]

# Machines ask for these every few seconds: logged at debug alone.
PROBES = ("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")


class RequestLog:
    """Outermost: gives each request its id, answers what nobody caught, writes one access line, counts."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = status or scope["state"].get("refused", CLIENT_CLOSED)
        except Exception:
            log.exception("unexpected error", extra={"fields": {"request_id": request_id}})
            if not status:
                problem = Problem(
                    HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed on this request; its log says why."
                )
                await problem_response(problem, scope)(scope, receive, send_with_id)
        finally:
            path = path_of(scope)
            # one that was refused never came to the router; and never the path, which clients make up
            refused = "/metrics" if METRICS.match(path) else "other"
            route = guarded_route(path) or getattr(scope.get("route"), "path", refused)
            self.metrics.requests.labels(scope["method"], route, status).inc()
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": path,
                "status": status,
                "ms": round(1000 * (time.perf_counter() - started), 1),
            }
            log.log(logging.DEBUG if path in PROBES else logging.INFO, "request", extra={"fields": fields})


class Admission:
    """Lets a guarded call in if its key is right, the service is ready, the queue has room and the body fits.

    Of /metrics the key alone is checked, and only where they are not public.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service
        settings = service.settings
        self.keys = [key.get_secret_value().encode() for key in settings.api_keys]
        self.limit, self.limit_together = settings.max_body_bytes, settings.max_upload_bytes
        self._received = 0  # bytes of the bodies of all requests that are not answered yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope) if scope["type"] == "http" else ""
        costly = guarded_route(path) is not None
        if not costly and (self.service.settings.public_metrics or not METRICS.match(path)):
            await self.app(scope, receive, send)
            return
        send = _lingering(receive, send)
        try:
            self._check_key(Headers(scope=scope))
            if costly:
                self._check_room(Headers(scope=scope))
        except Problem as problem:
            await problem_response(problem, scope)(scope, receive, send)
            return
        with self._bounded(receive) as receive_bounded:
            await self.app(scope, receive_bounded, send)

    def _check_key(self, headers: Headers) -> None:
        if self.keys and not is_known(_given_key(headers), self.keys):
            self._reject("key")
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "A valid key is needed, as Authorization: Bearer or X-API-Key.",
                {"WWW-Authenticate": "Bearer", "Connection": "close"},
            )

    def _check_room(self, headers: Headers) -> None:
        if not self.service.ready:
            self._reject("not ready")
            raise not_ready_problem()
        try:
            self.service.scheduler.room.check()
        except Overloaded as error:
            self._reject("overload")
            raise overload_problem(error.retry_after_s) from error
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.limit:
            raise self._too_large()

    @contextlib.contextmanager
    def _bounded(self, receive: Receive) -> Iterator[Receive]:
        """A `receive` that ends a body beyond its limit, or beyond that of all bodies if it is not the only one."""
        taken = 0

        async def receive_bounded() -> Message:
            nonlocal taken
            message = await receive()
            size = len(message.get("body", b""))
            taken += size
            self._received += size
            if taken > self.limit:
                raise self._too_large()
            if taken < self._received > self.limit_together:
                self._reject("uploads")
                raise overload_problem(FIRST_GUESS_S)
            return message

        try:
            yield receive_bounded
        finally:
            self._received -= taken

    def _too_large(self) -> Problem:
        self._reject("body size")
        detail = f"The body is larger than {self.limit} bytes."
        return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, {"Connection": "close"})

    def _reject(self, reason: str) -> None:
        self.service.metrics.rejected.labels(reason).inc()


def guarded_route(path: str) -> str | None:
    """The route, among those that are guarded, that a path leads to."""
    return next((route for route, pattern in GUARDED.items() if pattern.match(path)), None)


def _lingering(receive: Receive, send: Send) -> Send:
    """A `send` that closes after a refusal only when the client has sent all, or after LINGER_S; what comes is dropped.

    To close a connection while data is coming in resets it, and most clients then never see the answer (RFC 9112, 9.6).
    After a wrong key nothing is read: what fits into the buffers on the way has LINGER_UNREAD_S to get there.
    """
    closing = unread = False

    async def send_and_linger(message: Message) -> None:
        nonlocal closing, unread
        if message["type"] == "http.response.start":
            closing = Headers(raw=message["headers"]).get("connection") == "close"
            unread = message["status"] == HTTPStatus.UNAUTHORIZED
        if not closing or message["type"] != "http.response.body" or message.get("more_body"):
            await send(message)
            return
        await send({**message, "more_body": True})
        if unread:
            await asyncio.sleep(LINGER_UNREAD_S)
        else:
            await _drop(receive)
        await send({"type": "http.response.body", "body": b""})

    return send_and_linger


async def _drop(receive: Receive) -> None:
    """Reads the rest of a body, as long as it may take."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while (await receive()).get("more_body"):
                pass


def is_known(given: bytes, keys: Iterable[bytes]) -> bool:
    """Whether a key is one of the keys; takes the same time whichever it is, and whatever it shares with one."""
    return bool(sum([hmac.compare_digest(given, key) for key in keys]))


def _given_key(headers: Headers) -> bytes:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return key.encode("latin-1")  # as starlette decoded it: the bytes that came
