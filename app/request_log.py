"""The request log: request ids, an access line and counters, and a 500 for unexpected errors. Plain ASGI middleware."""

import logging
import re
import time
import uuid
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.admission import guarded_route, polled_route
from app.metrics import Metrics
from app.problems import Problem, path_of, problem_response

log = logging.getLogger("app.access")

# Characters that need no escaping in logs, headers and shells.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

# Status in the log for a client that disconnected before it had sent the whole body. No client receives this status.
CLIENT_CLOSED = 499

# Probes ask these paths every few seconds. So they are logged at debug level, as the routes of `polled_route` are.
PROBES = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")


class RequestLog:
    """Outermost middleware: assigns request ids, turns unexpected errors into 500, logs and counts each request."""

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
            # A refused request has no route. The path is no label: clients can make up any number of paths.
            polled = polled_route(path)
            route = guarded_route(path) or getattr(scope.get("route"), "path", polled or "other")
            self.metrics.requests.labels(scope["method"], route, status).inc()
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": path,
                "status": status,
                "ms": round(1000 * (time.perf_counter() - started), 1),
            }
            log.log(logging.DEBUG if polled or path in PROBES else logging.INFO, "request", extra={"fields": fields})
