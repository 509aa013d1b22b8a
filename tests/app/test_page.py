"""The page's files over HTTP; what it does is in end_to_end/test_page.py."""

import re
from collections.abc import Callable
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from app.page import HEADERS, STATIC

VENDORED = STATIC / "vendor"
OWN = sorted(path for path in STATIC.rglob("*.*") if path.suffix != ".png" and VENDORED not in path.parents)


def _links(text: str) -> list[str]:
    """What a file loads: attributes of HTML, imports and workers of scripts."""
    return re.findall(r'(?:src|href)="([^"]+)"|(?:from |import |import\()"(\.[^"]+)"|new URL\("([^"]+)"', text)


def test_the_page_is_html_under_a_strict_policy(client: TestClient):
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy)
    assert client.head("/").status_code == 200


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_every_file_is_served_and_what_it_loads_is_there(client: TestClient, path):
    base = "/" if path.name == "index.html" else f"/static/{path.relative_to(STATIC)}"
    response = client.get(base)
    assert response.content == path.read_bytes()
    assert response.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    for link in (next(filter(None, groups)) for groups in _links(response.text)):
        assert not link.startswith(("/", "http")), link
        assert client.get(urljoin(base, link)).status_code == 200, link


def test_a_file_that_the_browser_has_is_not_sent_again(client: TestClient):
    etag = client.get("/static/main.js").headers["etag"]
    again = client.get("/static/main.js", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/static/none.js", "/static/", "/static/vendor", "/static/..%2fpage.py", "/static/%00"]
)
def test_an_unknown_static_file_is_a_404(client: TestClient, check_problem, path: str):
    check_problem(client.get(path), 404)


def test_the_page_works_behind_a_path_prefix(client: TestClient):
    behind = TestClient(client.app, root_path="/lab/cells")
    assert behind.get("/lab/cells/").content == (STATIC / "index.html").read_bytes()
    assert behind.get("/lab/cells/static/main.js").status_code == 200


def test_the_page_is_open_where_segmenting_needs_a_key(serve: Callable[..., TestClient], png: bytes):
    client = serve(api_keys="secret")
    assert client.get("/").status_code == client.get("/static/main.js").status_code == 200
    assert client.post("/segment", files={"file": png}).status_code == 401
