"""The service behind a real nginx with TLS and a path prefix, as deploy/nginx.conf sets it up."""

import getpass
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.end_to_end.browser import give
from tests.support.servers import free_port

ROOT = Path(__file__).parents[2]
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

pytestmark = pytest.mark.skipif(
    NGINX is None or shutil.which("openssl") is None,
    reason="needs nginx and openssl (on Debian: apt install nginx-light)",
)


@pytest.fixture(scope="module")
def behind(
    start: Callable[..., Any], wait_until: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of the service behind nginx."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    certificate, key = folder / "lab.pem", folder / "lab.key"
    subject = ("-subj", "/CN=lab", "-addext", "subjectAltName=IP:127.0.0.1")
    request = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject)
    subprocess.run([*request, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    with ExitStack() as stack:
        server = start(stack, root_path="/segmentation", keep_alive_s=75)
        changes = {
            "127.0.0.1:8000": f"127.0.0.1:{server.port}",
            "listen 443": f"listen 127.0.0.1:{port}",
            "/etc/ssl/certs/lab.example.pem": str(certificate),
            "/etc/ssl/private/lab.example.key": str(key),
        }
        site = (ROOT / "deploy/nginx.conf").read_text()
        for old, new in changes.items():
            assert site.count(old) == 1
            site = site.replace(old, new)
        (folder / "nginx.conf").write_text(
            f"user {getpass.getuser()}; daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
            f"http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
            f"fastcgi_temp_path {folder}/1; uwsgi_temp_path {folder}/2; scgi_temp_path {folder}/3;\n{site}}}\n"
        )
        nginx = stack.enter_context(subprocess.Popen([str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]))
        stack.callback(nginx.terminate)
        address = f"https://127.0.0.1:{port}/segmentation"
        client = stack.enter_context(
            httpx.Client(verify=ssl.create_default_context(cafile=certificate), timeout=60, base_url=address)
        )
        wait_until(lambda: _is_ready(client))
        yield client


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.ConnectError:
        return False


@pytest.fixture
def page(browser: Browser, behind: httpx.Client) -> Iterator[Page]:
    """The page, with a certificate that no authority has signed."""
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.goto(str(behind.base_url))
    yield page
    context.close()


def test_an_image_larger_than_nginx_allows_by_default_is_segmented(behind: httpx.Client, png: bytes):
    answer = behind.post("/segment", files={"file": png})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert len(answer.headers["x-request-id"]) == 32
    large = behind.post("/segment", files={"file": png + bytes(3_000_000)})
    assert large.status_code == 200, large.text


def test_the_page_segments_and_saves_behind_the_prefix(page: Page, png: bytes):
    give(page, ("cells.png", png))
    expect(page.locator("#count")).not_to_be_empty()
    with page.expect_download() as started:
        page.click("[data-output=mask]")
    assert started.value.suggested_filename == "cells_mask.png"


def test_try_it_out_works_behind_the_prefix(page: Page, behind: httpx.Client):
    page.goto(f"{behind.base_url}docs")
    call = page.locator(".opblock", has_text="/model").first
    call.click()
    call.get_by_role("button", name="Try it out").click()
    call.get_by_role("button", name="Execute").click()
    expect(call.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
    expect(call.locator(".request-url").first).to_contain_text(f"{behind.base_url}model")
