"""Admission at the level of ASGI, so that a body that is read can be seen."""

import asyncio
import gzip
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import Message

from app.admission import is_known
from app.application import create_app
from app.settings import Settings


@dataclass
class Answer:
    """What an application sent."""

    messages: list[Message] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> Headers:
        return Headers(raw=self.messages[0]["headers"])

    @property
    def problem(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(b"".join(message["body"] for message in self.messages[1:]))
        return body


async def _never() -> Message:
    raise AssertionError("the body was read")


def _post(
    app: FastAPI,
    headers: dict[str, str] | None = None,
    receive: Any = _never,
    path: str = "/segment",
    answer: Answer | None = None,
    root_path: str = "",
) -> Answer:
    answer = answer or Answer()
    asyncio.run(app(_scope(headers or {}, path, root_path), receive, answer.send))
    return answer


def _scope(headers: dict[str, str], path: str = "/segment", root_path: str = "") -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": root_path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }


def _body(*chunks: bytes) -> Callable[[], Any]:
    """The `receive` of a body that comes in these chunks, from a client that then waits for its answer."""
    waiting = list(chunks)

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    return receive


@pytest.fixture(scope="module")
def make_app(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., FastAPI]]:
    """`make_app(ready=True, **settings fields)`: the application, without a server; one for each set of arguments."""
    with ExitStack() as stack:

        @cache
        def make(*, ready: bool = True, **fields: Any) -> FastAPI:
            app = create_app(make_settings(**fields))
            stack.callback(app.state.service.close)
            if ready:
                app.state.service.load()
            return app

        yield make


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic right"},
        {"Authorization": "Basic " + b64encode(b"right:wrong").decode()},
        {"Authorization": "Basic " + b64encode(b"right").decode()},
        {"Authorization": "Basic " + b64encode(b"any:right").decode(), "X-API-Key": "wrong"},
        {"Authorization": "right"},
        {"Authorization": "Bearer righ"},
        {"Authorization": "Bearer right-and-more"},
        {"Authorization": "Bearer wrong", "X-API-Key": "right"},
        {"X-API-Key": "RIGHT"},
        {"X-API-Key": "right,other"},
    ],
    ids=str,
)
def test_without_a_right_key_nothing_is_read(make_app: Callable[..., FastAPI], headers: dict[str, str]):
    answer = _post(make_app(api_keys="right,other"), headers | {"Content-Type": "image/png"})
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "right" not in str(answer.messages)


@pytest.mark.parametrize("path", ["/segment", "/v2/models/small-net/infer"])
@pytest.mark.parametrize(("before", "root_path"), [("/lab", "/lab"), ("", "/lab"), ("", "/"), ("", "/seg")])
def test_a_prefix_of_a_proxy_gets_nobody_past(make_app: Callable[..., FastAPI], path: str, before: str, root_path: str):
    answer = _post(make_app(api_keys="right,other"), path=f"{before}{path}", root_path=root_path)
    assert answer.status == 401
    assert ("error" in answer.problem) == path.startswith("/v2")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer right"},
        {"Authorization": "bearer  other"},
        {"X-API-Key": "other"},
        {"Authorization": "Basic anything", "X-API-Key": "right"},
        {"Authorization": "Basic " + b64encode(b"any:right").decode()},
        {"Authorization": "basic " + b64encode(b":other").decode()},
        {"Authorization": "Basic " + b64encode("any:schlüssel".encode()).decode()},
        {"X-API-Key": "schlüssel"},
        {"Authorization": "Bearer schlüssel"},
    ],
    ids=str,
)
def test_a_right_key_comes_in_by_each_header(make_app: Callable[..., FastAPI], headers: dict[str, str]):
    app = make_app(api_keys="right,other,schlüssel")
    answer = _post(app, headers | {"Content-Type": "image/png"}, _body(b"no image"))
    assert answer.status == 400


@pytest.mark.parametrize(
    "path",
    [
        *("/segment", "/v2/models/small-net/infer", "/v2/models/small-net/versions/1/infer"),
        *("/v2/models/unknown/infer", "/small-net/process", "/unknown/process"),
    ],
)
@pytest.mark.parametrize("ending", ["", "\n"])  # the router takes a line feed after a path for nothing
def test_no_path_to_what_costs_gets_past(make_app: Callable[..., FastAPI], path: str, ending: str):
    answer = _post(make_app(api_keys="right"), {"Content-Type": "image/png"}, path=path + ending)
    assert answer.status == 401


def test_keys_guard_no_more_than_what_costs(make_app: Callable[..., FastAPI]):
    app = make_app(api_keys="right")
    for path in (
        "/healthz",
        "/readyz",
        "/metrics",
        "/model",
        "/v2",
        "/v2/health/ready",
        "/v2/models/small-net",
        "/algorithms",
    ):
        assert _post(app, path=path).status == 405  # known, open, and not for POST


@pytest.mark.parametrize("path", ["/metrics", "/metrics\n"])
def test_metrics_may_be_guarded_too(make_app: Callable[..., FastAPI], path: str):
    app = make_app(api_keys="right", public_metrics=False)
    assert _post(app, path=path).status == 401
    refused = {"method": "POST", "route": "/metrics", "status": "401"}
    assert app.state.service.metrics.registry.get_sample_value("segment_requests_total", refused)
    assert _post(app, {"X-API-Key": "right"}, path=path).status == 405  # known, and not for POST
    assert _post(app, path="/healthz").status == 405


def test_all_bodies_share_a_limit_that_a_single_body_may_exceed(make_app: Callable[..., FastAPI]):
    app = make_app(max_upload_bytes=2000)
    headers = {"Content-Type": "image/png"}

    async def body() -> tuple[Answer, Answer, Answer]:
        first, second, third = Answer(), Answer(), Answer()
        halfway, go_on = asyncio.Event(), asyncio.Event()
        large = _body(bytes(1500), bytes(1500))

        async def receive() -> Message:
            message: Message = await large()
            if not message["more_body"]:
                halfway.set()
                await go_on.wait()
            return message

        sending = asyncio.create_task(app(_scope(headers), receive, first.send))
        await halfway.wait()
        await app(_scope(headers), _body(bytes(400)), second.send)
        await app(_scope(headers), _body(bytes(600), b""), third.send)
        go_on.set()
        await sending
        return first, second, third

    first, second, third = asyncio.run(body())
    # no images, but read; the one in between was one too many
    assert (first.status, second.status, third.status) == (400, 400, 503)
    assert int(third.headers["retry-after"]) > 0
    assert app.state.service.metrics.registry.get_sample_value("segment_rejected_total", {"reason": "uploads"}) == 1
    assert _post(app, {"Content-Type": "image/png"}, _body(bytes(1999))).status == 400


def test_decompressed_bytes_count_in_the_limit_of_all_bodies(make_app: Callable[..., FastAPI]):
    app = make_app(max_upload_bytes=100_000)
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    packed = gzip.compress(bytes(90_000))

    async def bodies() -> list[Answer]:
        answers = [Answer() for _ in range(6)]
        ready = asyncio.Barrier(len(answers))

        async def post(answer: Answer) -> None:
            body = _body(packed)

            async def receive() -> Message:
                message: Message = await body()
                await ready.wait()  # all are in progress
                return message

            await app(_scope(headers), receive, answer.send)

        await asyncio.gather(*map(post, answers))
        return answers

    statuses = [answer.status for answer in asyncio.run(bodies())]
    assert set(statuses) == {400, 503}  # no images; the first that are decompressed leave no room for the others
    # nothing stays counted
    assert _post(app, headers, _body(packed)).status == 400


def test_before_it_is_ready_nothing_is_read(make_app: Callable[..., FastAPI]):
    answer = _post(make_app(ready=False), {"Content-Type": "image/png"})
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0


def test_a_wrong_key_learns_nothing_of_readiness(make_app: Callable[..., FastAPI]):
    assert _post(make_app(ready=False, api_keys="right"), {"X-API-Key": "wrong"}).status == 401


@pytest.mark.parametrize("length", ["1025", "99999999999999999999"])
def test_a_body_declared_too_large_is_answered_unread_and_drained(make_app: Callable[..., FastAPI], length: str):
    answer = Answer()

    async def receive() -> Message:
        assert answer.problem["detail"] == "The body is larger than 1024 bytes."
        return {"type": "http.disconnect"}

    headers = {"Content-Type": "image/png", "Content-Length": length}
    _post(make_app(max_body_bytes=1024), headers, receive, answer=answer)
    assert answer.status == 413
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "10"}, {"Content-Length": "-5"}, {"Content-Length": "x"}])
@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=b"])
def test_a_body_over_the_limit_is_answered_at_once_and_drained(
    make_app: Callable[..., FastAPI], headers: dict[str, str], kind: str
):
    chunks = [b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n', bytes(600), bytes(600)]
    rest = [bytes(600), bytes(600)]
    answer = Answer()
    read: list[bytes] = []

    async def receive() -> Message:
        assert bool(answer.messages) == (len(read) >= len(chunks))
        read.append((chunks + rest)[len(read)])
        return {"type": "http.request", "body": read[-1], "more_body": len(read) < len(chunks + rest)}

    _post(make_app(max_body_bytes=1024), headers | {"Content-Type": kind}, receive, answer=answer)
    assert answer.status == 413
    assert read == chunks + rest


def test_a_body_of_just_the_limit_comes_in(make_app: Callable[..., FastAPI]):
    app = make_app(max_body_bytes=1024)
    headers = {"Content-Type": "image/png", "Content-Length": "1024"}
    assert _post(app, headers, _body(bytes(1000), bytes(24))).status == 400  # not an image, but read


def test_each_refusal_is_counted_by_its_reason(make_app: Callable[..., FastAPI]):
    app = make_app(api_keys="right", max_body_bytes=1025)
    key = {"X-API-Key": "right"}
    _post(app)
    _post(app, key | {"Content-Length": "5000"})
    _post(app, key | {"Content-Type": "image/png"}, _body(bytes(2000)))
    app.state.service.drain()
    _post(app, key)
    sample = app.state.service.metrics.registry.get_sample_value
    counts = {
        reason: sample("segment_rejected_total", {"reason": reason}) for reason in ("key", "body size", "not ready")
    }
    assert counts == {"key": 1, "body size": 2, "not ready": 1}


def test_a_client_that_leaves_while_sending_is_not_a_server_error(
    make_app: Callable[..., FastAPI], caplog: pytest.LogCaptureFixture
):
    messages: list[Message] = [
        {"type": "http.request", "body": b"\x89PNG", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    caplog.set_level("INFO")
    answer = _post(make_app(), {"Content-Type": "image/png", "X-Request-ID": "gone"}, receive)
    assert answer.messages == []
    logged = [record for record in caplog.records if getattr(record, "fields", {}).get("request_id") == "gone"]
    assert [(record.levelname, record.message, vars(record)["fields"]["status"]) for record in logged] == [
        ("INFO", "request", 499)
    ]


@pytest.mark.parametrize(
    ("given", "known"),
    [(b"a", True), (b"bb", True), (b"", False), (b"b", False), (b"ab", False), (b"A", False), (b"\xff", False)],
)
def test_only_a_whole_key_is_known(given: bytes, known: bool):
    assert is_known(given, [b"a", b"bb"]) is known


def test_without_configured_keys_no_key_is_accepted():
    assert is_known(b"", []) is False
