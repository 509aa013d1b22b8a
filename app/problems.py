"""Errors as RFC 9457 `application/problem+json`; under /v2 as the Open Inference Protocol has them, `{"error": ...}`.

Texts are fixed, or contain numbers and names that `shown` has cleaned. They never contain an exception text, a path or
an address of the server.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

_WHERE = "Send an image by POST /segment; GET /docs lists all calls."
_ROUTING = {
    HTTPStatus.NOT_FOUND: f"There is nothing at this path. {_WHERE}",
    HTTPStatus.METHOD_NOT_ALLOWED: f"This path does not take this method. {_WHERE}",
}


class Problem(Exception):
    """Ends a request with this status and text."""

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


class ProblemResponse(JSONResponse):
    """The body of a problem; with the type `about:blank` the status is all there is to its kind (RFC 9457, 4.2.1)."""

    media_type = "application/problem+json"

    def __init__(self, problem: Problem, request_id: str) -> None:
        content = {
            "type": "about:blank",
            "title": problem.status.phrase,
            "status": int(problem.status),
            "detail": problem.detail,
            "request_id": request_id,
        }
        super().__init__(content, int(problem.status), dict(problem.headers or {}))


def problem_response(problem: Problem, scope: Scope) -> JSONResponse:
    """The answer to a request that ends with a problem, in the shape that its path asks for."""
    path = path_of(scope)
    if path != "/v2" and not path.startswith("/v2/"):
        return ProblemResponse(problem, scope["state"]["request_id"])
    # the protocol has only 400 for every fault in the content of a request
    unprocessable = problem.status == HTTPStatus.UNPROCESSABLE_ENTITY
    status = HTTPStatus.BAD_REQUEST if unprocessable else problem.status
    return JSONResponse({"error": problem.detail}, int(status), dict(problem.headers or {}))


def path_of(scope: Scope) -> str:
    """The path as the routes know it, without the prefix that a proxy has put before all of them."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    return path[len(prefix) :] if path == prefix or path.startswith(f"{prefix}/") else path


def not_ready_problem() -> Problem:
    """503 before the engine is warm, and while draining."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The service is starting or stopping.", {"Retry-After": "5"})


def overload_problem(retry_after_s: int) -> Problem:
    """503 while there is no room in the queue."""
    headers = {"Retry-After": str(retry_after_s), "Connection": "close"}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "Too much work is waiting; try again later.", headers)


def engine_problem() -> Problem:
    """503 after the engine failed on a request's tiles."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The engine failed on this request.", {"Retry-After": "5"})


def bad_parameter_problem(error: Mapping[str, Any]) -> Problem:
    """422 for a parameter with a bad value; `error` is pydantic's description."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"Parameter {error['loc'][-1]}: {error['msg']}.")


def shown(name: str) -> str:
    """Returns a client's word as a problem may repeat it: other characters than letters, digits, . _ - are dropped."""
    return re.sub(r"[^\w.-]", "", name, flags=re.ASCII)[:40] or "of this name"


def install_problem_handlers(app: FastAPI) -> None:
    """Turns everything that goes wrong behind the routes into a problem."""
    # starlette types a handler as taking any Exception; it calls each handler only with its own kind
    app.add_exception_handler(Problem, _on_problem)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _on_http_exception)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _on_bad_parameter)  # type: ignore[arg-type]


async def _on_problem(request: Request, error: Problem) -> JSONResponse:
    return problem_response(error, request.scope)


async def _on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
    status = HTTPStatus(error.status_code)
    detail = _ROUTING.get(status) or status.description or status.phrase
    return problem_response(Problem(status, detail, error.headers), request.scope)


async def _on_bad_parameter(request: Request, error: RequestValidationError) -> JSONResponse:
    return problem_response(bad_parameter_problem(error.errors()[0]), request.scope)
