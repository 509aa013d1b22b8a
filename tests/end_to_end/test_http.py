"""The service over a real connection: what only bytes on a socket can show."""

import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from model.inputs.preprocessing import Pixels
from model.segmenter import Segmenter
from tests.end_to_end.http import HTTP

LIMIT = 200_000  # the server's, for bodies, in bytes
HEAD = b"POST /segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"

WaitUntil = Callable[[Callable[[], object]], None]

pytestmark = pytest.mark.usefixtures("still_serving")


def _answer(connection: Any) -> tuple[int, str, bytes]:
    """Reads one response: status, content type, body."""
    response = HTTPResponse(connection)
    response.begin()
    kind = response.headers["Content-Type"]
    return response.status, kind, response.read()


def _check_problem(answer: tuple[int, str, bytes], status: int) -> None:
    assert answer[:2] == (status, "application/problem+json")
    problem = json.loads(answer[2])
    assert problem.keys() == {"type", "title", "status", "detail", "request_id"}
    assert problem["status"] == status


def _mask(data: bytes) -> Pixels:
    return np.array(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("output", ["mask", "probability"])
def test_the_answer_is_what_the_segmenter_says(
    server: Any, segmenter: Segmenter, pixels: Pixels, png: bytes, output: str
):
    response = HTTP.post(f"{server.url}/segment", params={"output": output}, files={"file": ("a.png", png)})
    expected = {
        "mask": segmenter.mask(pixels),
        "probability": np.rint(segmenter.probabilities(pixels)[0] * 65535),
    }[output]
    assert np.array_equal(_mask(response.content), expected)
    assert response.headers["content-disposition"] == f'inline; filename="a_{output}.png"'
    assert "server" not in response.headers


def test_with_tta_the_answer_is_the_mean_over_flips_and_turns(
    serve: Callable[..., Any], segmenter: Segmenter, pixels: Pixels, png: bytes
):
    server = serve(tta=8)
    assert HTTP.get(f"{server.url}/model").json()["tta"] == 8
    assert [line["tta"] for line in server.log if line["event"] == "ready"] == [8]
    answer = HTTP.post(f"{server.url}/segment?output=probability", files={"file": png})
    told = _mask(answer.content) / 65535
    turned = [(flip, turns) for flip in (1, -1) for turns in range(4)]
    # the sides are no multiples of the grid, so the padded image is what is turned
    padded = np.pad(pixels, [(0, -side % 4) for side in pixels.shape], mode="edge")
    results = [
        np.rot90(segmenter.probabilities(np.rot90(padded[:, ::flip], turns))[0], -turns)[:, ::flip]
        for flip, turns in turned
    ]
    expected = np.mean(results, axis=0)[: pixels.shape[0], : pixels.shape[1]]
    assert np.abs(told - expected).max() < 1e-4
    assert np.abs(told - segmenter.probabilities(pixels)[0]).max() > 1e-2


def test_a_body_in_chunks_without_a_length_is_read(server: Any, segmenter: Segmenter, pixels: Pixels, png: bytes):
    def chunks() -> Iterator[bytes]:
        for start in range(0, len(png), 1000):
            yield png[start : start + 1000]

    response = HTTP.post(f"{server.url}/segment", content=chunks(), headers={"Content-Type": "image/png"})
    assert np.array_equal(_mask(response.content), segmenter.mask(pixels))


def test_a_body_declared_too_large_is_refused_unread(server: Any):
    with server.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1))
        _check_problem(_answer(connection), 413)
        assert connection.recv(1) == b""  # and the server closes


def test_a_body_in_chunks_is_refused_as_soon_as_it_is_too_large(server: Any):
    with server.connect() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"%x\r\n" % (LIMIT + 1) + bytes(LIMIT + 1))  # and more would follow
        _check_problem(_answer(connection), 413)
        assert connection.recv(1) == b""


@pytest.mark.parametrize("size", [2 * LIMIT, 100 * LIMIT])
def test_a_client_that_sends_everything_before_it_reads_gets_the_413(server: Any, size: int):
    """As Python's urllib and requests do."""
    request = urllib.request.Request(f"{server.url}/segment", bytes(size), {"Content-Type": "image/png"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as answer:
        _check_problem((answer.code, answer.headers["Content-Type"], answer.read()), 413)


def test_expect_100_continue_is_refused_or_continued(server: Any, png: bytes):
    expect = b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(HEAD + expect % (LIMIT + 1))
        _check_problem(_answer(connection), 413)
    with server.connect() as connection:
        connection.sendall(HEAD + expect % len(png))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(png)
        assert _answer(connection)[:2] == (200, "image/png")


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("POST", "/segment", {"files": {"file": b"no image"}}, 400),
        ("POST", "/segment", {"content": b"", "headers": {"Content-Type": "image/png"}}, 400),
        ("POST", "/segment", {"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400),
        ("POST", "/segment", {"content": b"text", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", "/segment", {"files": {"file": b"GIF89a"}}, 415),
        ("POST", "/segment", {"files": {"other": b"x"}}, 422),
        ("POST", "/segment?threshold=7", {"files": {"file": b"x"}}, 422),
        ("POST", "/segment?output=nonsense", {"files": {"file": b"x"}}, 422),
        ("GET", "/segment", {}, 405),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", {}, 404),
        ("GET", "/static-offline-docs/..%2fcore.py", {}, 404),
    ],
    ids=str,
)
def test_errors_keep_the_connection_and_the_next_request_on_it_works(
    server: Any, png: bytes, method: str, path: str, options: dict[str, Any], status: int
):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        response = client.request(method, path, **options)
        _check_problem((response.status_code, response.headers["content-type"], response.content), status)
        assert client.post("/segment", files={"file": png}).status_code == 200


@pytest.mark.parametrize("kind", [b"image/png", b"multipart/form-data; boundary=b"])
def test_a_client_that_leaves_while_sending_is_not_an_error(server: Any, wait_until: WaitUntil, kind: bytes):
    name = "left-" + kind.decode()[:5]
    with server.connect() as connection:
        head = HEAD.replace(b"image/png", kind) + b"X-Request-ID: " + name.encode()
        connection.sendall(head + b"\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(b"--b\r\n")
    wait_until(lambda: server.logged(name))
    assert [(line["event"], line["status"]) for line in server.logged(name)] == [("request", 499)]


def test_a_client_that_leaves_before_the_answer_is_not_an_error(server: Any, png: bytes, wait_until: WaitUntil):
    with server.connect() as connection:
        head = HEAD + b"X-Request-ID: impatient\r\nContent-Length: %d\r\n\r\n" % len(png)
        connection.sendall(head + png)
    wait_until(lambda: server.logged("impatient"))


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00 a TLS hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /segment HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_bytes_that_are_not_http_are_refused(server: Any, nonsense: bytes):
    with server.connect() as connection:
        connection.sendall(nonsense)
        assert _answer(connection)[0] == 400


def test_many_clients_at_once_are_all_answered_and_counted(
    server: Any, segmenter: Segmenter, pixels: Pixels, png: bytes
):
    def counted() -> float:
        families = text_string_to_metric_families(HTTP.get(f"{server.url}/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        wanted = {"method": "POST", "route": "/segment", "status": "200"}
        return sum(s.value for s in samples if s.name == "segment_requests_total" and s.labels == wanted)

    def send(_: int) -> Pixels:
        response = HTTP.post(f"{server.url}/segment?output=probability", files={"file": png})
        assert response.status_code == 200
        return _mask(response.content)

    before = counted()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(24)))
    expected = np.rint(segmenter.probabilities(pixels)[0] * 65535)
    assert max(np.abs(answer - expected).max() for answer in answers) <= 1
    assert counted() == before + 24


def test_the_docs_and_what_they_load_come_from_the_server(server: Any):
    page = HTTP.get(f"{server.url}/docs")
    assert page.status_code == 200
    for path in ("/static-offline-docs/swagger-ui-bundle.js", "/static-offline-docs/swagger-ui.css", "/openapi.json"):
        assert path in page.text
        assert HTTP.get(f"{server.url}{path}").status_code == 200
