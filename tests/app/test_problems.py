import json
from http import HTTPStatus

import pytest
from fastapi import FastAPI, Query
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from app.problems import Problem, ProblemResponse, install_problem_handlers


@pytest.fixture
def failing() -> TestClient:
    """An application whose every call goes wrong, each in its own way."""
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/problem")
    async def problem() -> None:
        raise Problem(HTTPStatus.CONFLICT, "Two at once.", {"Retry-After": "3"})

    @app.get("/http")
    async def http() -> None:
        raise HTTPException(410, "a detail of somebody else's", {"X-Kept": "yes"})

    @app.get("/parameter")
    async def parameter(size: int = Query(le=5)) -> int:
        return size

    async def with_id(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["request_id"] = "the-id"
        await app(scope, receive, send)

    return TestClient(with_id)


def test_a_problem_has_five_fields_and_its_media_type():
    response = ProblemResponse(Problem(HTTPStatus.BAD_REQUEST, "No."), "abc")
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert json.loads(bytes(response.body)) == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "No.",
        "request_id": "abc",
    }


def test_a_raised_problem_becomes_the_answer_with_its_headers(failing: TestClient):
    response = failing.get("/problem")
    assert (response.status_code, response.json()["detail"]) == (409, "Two at once.")
    assert response.headers["retry-after"] == "3"
    assert response.json()["request_id"] == "the-id"


def test_framework_errors_keep_status_and_headers_with_a_fixed_text(failing: TestClient):
    response = failing.get("/http")
    assert (response.status_code, response.headers["x-kept"]) == (410, "yes")
    assert "somebody" not in response.text


@pytest.mark.parametrize("query", ["size=6", "size=many", ""])
def test_a_bad_parameter_is_named(failing: TestClient, query: str):
    response = failing.get(f"/parameter?{query}")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"].startswith("Parameter size: ")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/http", 405)])
def test_router_refusals_are_problem_documents(failing: TestClient, method: str, path: str, status: int):
    response = failing.request(method, path)
    assert response.status_code == response.json()["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
