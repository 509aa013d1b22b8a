"""Admission control: accepts or refuses a request before its body is read. Plain ASGI middleware.

Admission checks the API key, the queue capacity and the declared body size. A refused request costs a few header
look-ups and reaches no other module.
"""

import asyncio
import base64
import contextlib
import hmac
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.capacity import FIRST_GUESS_S, QueueFull
from app.problems import Problem, not_ready_problem, overload_problem, path_of, problem_response
from app.service import Service

# Seconds for which a client whose request was refused may continue to send the body.
LINGER_S, LINGER_UNREAD_S = 2.0, 0.5

# In the scope of a guarded call: what counts the bytes that its body was decompressed to.
COUNT_BYTES = "app.count_bytes"

PROGRESS_ROUTE = "/progress/{request_id}"

# The routes of the calls that take images, and those that clients poll. The router's own compiler makes their patterns:
# with other patterns, a path that both read differently (one that ends with a line feed) would bypass admission.
_COSTLY = (
    "/segment",
    "/labels",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
    "/{name}/process",
)
GUARDED = {route: compile_path(route)[0] for route in _COSTLY}
POLLED = {route: compile_path(route)[0] for route in (PROGRESS_ROUTE, "/metrics")}


class Admission:
    """Accepts a guarded call if its key is valid, the service is ready, the queue has capacity and the body fits.

    For the progress of a request and for /metrics, admission checks only the key; for /metrics only if the metrics are
    not public.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service
        settings = service.settings
        self.keys = [key.get_secret_value().encode() for key in settings.api_keys]
        self.limit, self.limit_together = settings.max_body_bytes, settings.max_upload_bytes
        self._received = 0  # bytes of the bodies of all requests in progress, as sent and decompressed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope) if scope["type"] == "http" else ""
        costly = guarded_route(path) is not None
        if not costly and not self._needs_key(path):
            await self.app(scope, receive, send)
            return
        send = _lingering(receive, send)
        try:
            self._check_key(Headers(scope=scope))
            if costly:
                self._check_capacity(Headers(scope=scope))
        except Problem as problem:
            await problem_response(problem, scope)(scope, receive, send)
            return
        with self._bounded(receive) as (receive_bounded, count):
            scope[COUNT_BYTES] = count
            await self.app(scope, receive_bounded, send)

    def _needs_key(self, path: str) -> bool:
        polled = polled_route(path)
        return polled == PROGRESS_ROUTE or (polled == "/metrics" and not self.service.settings.public_metrics)

    def _check_key(self, headers: Headers) -> None:
        if self.keys and not is_known(given_key(headers), self.keys):
            self._reject("key")
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "A valid key is needed: as Authorization: Bearer, as X-API-Key, or as the password of Basic.",
                {"WWW-Authenticate": "Bearer", "Connection": "close"},
            )

    def _check_capacity(self, headers: Headers) -> None:
        if not self.service.ready:
            self._reject("not ready")
            raise not_ready_problem()
        try:
            self.service.capacity.check()
        except QueueFull as error:
            self._reject("overload")
            raise overload_problem(error.retry_after_s) from error
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.limit:
            raise self._too_large()

    @contextlib.contextmanager
    def _bounded(self, receive: Receive) -> Iterator[tuple[Receive, Callable[[int], None]]]:
        """Yields a `receive` that refuses a body beyond its own limit, or beyond the limit of all bodies together.

        The only body in progress may exceed the second limit. Also yields what counts bytes that a body was
        decompressed to, and refuses them beyond the second limit.
        """
        sent = held = 0

        def count(size: int) -> None:
            nonlocal held
            held += size
            self._received += size
            if held < self._received > self.limit_together:
                self._reject("uploads")
                raise overload_problem(FIRST_GUESS_S)

        async def receive_bounded() -> Message:
            nonlocal sent
            message = await receive()
            sent += len(message.get("body", b""))
            if sent > self.limit:
                raise self._too_large()
            count(len(message.get("body", b"")))
            return message

        try:
            yield receive_bounded, count
        finally:
            self._received -= held

    def _too_large(self) -> Problem:
        self._reject("body size")
        detail = f"The body is larger than {self.limit} bytes."
        return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, {"Connection": "close"})

    def _reject(self, reason: str) -> None:
        self.service.metrics.rejected.labels(reason).inc()


def guarded_route(path: str) -> str | None:
    """Returns the guarded route that a path leads to, or None."""
    return next((route for route, pattern in GUARDED.items() if pattern.match(path)), None)


def polled_route(path: str) -> str | None:
    """Returns the route that clients poll and that a path leads to, or None."""
    return next((route for route, pattern in POLLED.items() if pattern.match(path)), None)


def _lingering(receive: Receive, send: Send) -> Send:
    """Returns a `send` that, after a refusal, drops the rest of the body before it closes the connection.

    It waits for the end of the body, LINGER_S at most. Closing a connection that still receives data resets it, and
    most clients then never see the response (RFC 9112, 9.6). After a wrong key, `send` reads nothing and waits
    LINGER_UNREAD_S, so that the data in the network's buffers can arrive.
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
    """Reads and drops the rest of a body, for LINGER_S at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while (await receive()).get("more_body"):
                pass


def is_known(given: bytes, keys: Iterable[bytes]) -> bool:
    """Returns True if `given` is one of the keys. Takes the same time for any key (no timing side channel)."""
    return bool(sum([hmac.compare_digest(given, key) for key in keys]))


def given_key(headers: Headers) -> bytes:
    """Returns the key that a request sent, or b"".

    Clients send Basic with any user if the URL that they were given contains the key: `http://any:KEY@host:8000`.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if not key and scheme.lower() == "basic":
        return _password(token)
    return key.encode("latin-1")  # the raw bytes, which starlette decoded as latin-1


def _password(token: str) -> bytes:
    """Returns the password in the token of Basic (RFC 7617), or b""."""
    try:
        return base64.b64decode(token.strip(), validate=True).partition(b":")[2]
    except ValueError:
        return b""
