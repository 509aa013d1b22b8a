"""The service behind a reverse proxy with a path prefix."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

Serve = Callable[..., TestClient]


@pytest.mark.parametrize("prefix", ["/lab", "/lab/cells", "/segment"])
@pytest.mark.parametrize("stripped", [True, False], ids=["stripped", "left"])
@pytest.mark.parametrize("by", ["setting", "header"])
def test_all_calls_work_behind_a_prefix(
    serve: Serve, client: TestClient, png: bytes, prefix: str, stripped: bool, by: str
):
    if by == "setting":
        client = serve(root_path=f"{prefix}/")
    headers = {"X-Forwarded-Prefix": prefix} if by == "header" else {}
    before = "" if stripped else prefix
    assert client.get(f"{before}/", headers=headers).text.startswith("<!doctype html>")
    assert client.get(f"{before}/static/main.js", headers=headers).status_code == 200
    assert client.get(f"{before}/v2/health/ready", headers=headers).status_code == 200
    assert client.post(f"{before}/segment", files={"file": png}, headers=headers).status_code == 200
    assert client.get(f"{before}/openapi.json", headers=headers).json()["servers"] == [{"url": prefix}]
    docs = client.get(f"{before}/docs", headers=headers).text
    assert f"'{prefix}/openapi.json'" in docs
    assert f'src="{prefix}/static-offline-docs/' in docs
    assert client.get(f"{before}/static-offline-docs/swagger-ui.css", headers=headers).status_code == 200


def test_a_key_is_needed_behind_a_prefix(serve: Serve, png: bytes):
    client = serve(root_path="/lab", api_keys="secret")
    for path in ("/segment", "/lab/segment"):
        assert client.post(path, files={"file": png}).status_code == 401
        assert client.post(path, files={"file": png}, headers={"X-API-Key": "secret"}).status_code == 200


@pytest.mark.parametrize("header", ["lab", "//evil.example", "/a b", '/"><script>', "/lab, /other", "/", "https://a"])
def test_a_header_that_is_no_path_is_ignored(client: TestClient, header: str):
    assert "servers" not in client.get("/openapi.json", headers={"X-Forwarded-Prefix": header}).json()
    assert client.get("/docs", headers={"X-Forwarded-Prefix": header}).text == client.get("/docs").text


def test_a_header_changes_no_other_answer_and_not_the_setting(serve: Serve):
    client = serve(root_path="/lab")
    answer = client.get("/openapi.json", headers={"X-Forwarded-Prefix": "/other"})
    assert answer.json()["servers"] == client.get("/openapi.json").json()["servers"] == [{"url": "/lab"}]
