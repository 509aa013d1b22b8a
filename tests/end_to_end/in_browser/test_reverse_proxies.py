"""The service behind real reverse proxies with TLS and a path prefix, as the files in deploy/ set them up."""

import getpass
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.end_to_end.browser import give
from tests.support.servers import free_port

ROOT = Path(__file__).parents[3]
SEARCHED = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


@dataclass(frozen=True)
class Proxy:
    """The ports of a proxy and of the service behind the proxy, and a folder for the files of the proxy."""

    folder: Path
    port: int
    service_port: int

    def configuration(self, name: str, changes: Mapping[str, str]) -> str:
        """Returns the file `name` of deploy/ after changes that each apply to one place."""
        site = (ROOT / "deploy" / name).read_text()
        for old, new in ({"127.0.0.1:8000": f"127.0.0.1:{self.service_port}"} | dict(changes)).items():
            assert site.count(old) == 1, old
            site = site.replace(old, new)
        return site


def _nginx(proxy: Proxy, stack: ExitStack) -> Callable[[], Path]:
    """Starts nginx with deploy/nginx.conf; returns what returns the certificate to trust."""
    folder = proxy.folder
    certificate, key = folder / "lab.pem", folder / "lab.key"
    subject = ("-subj", "/CN=lab", "-addext", "subjectAltName=IP:127.0.0.1")
    request = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject)
    subprocess.run([*request, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    changes = {
        "listen 443": f"listen 127.0.0.1:{proxy.port}",
        "/etc/ssl/certs/lab.example.pem": str(certificate),
        "/etc/ssl/private/lab.example.key": str(key),
    }
    (folder / "nginx.conf").write_text(
        f"user {getpass.getuser()}; daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
        f"fastcgi_temp_path {folder}/1; uwsgi_temp_path {folder}/2; scgi_temp_path {folder}/3;\n"
        f"{proxy.configuration('nginx.conf', changes)}}}\n"
    )
    _run(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], folder, stack)
    return lambda: certificate


def _caddy(proxy: Proxy, stack: ExitStack) -> Callable[[], Path]:
    """Starts Caddy with deploy/Caddyfile; returns what returns the certificate to trust, when Caddy has made it."""
    folder = proxy.folder
    site = proxy.configuration("Caddyfile", {"lab.example {": f"https://127.0.0.1:{proxy.port} {{"})
    # without changes to this machine: no port 80, no administration, no certificate among those of the system
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n"
    (folder / "Caddyfile").write_text(options + site)
    _run(["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")], folder, stack)
    return lambda: folder / "caddy/pki/authorities/local/root.crt"


def _run(command: list[str], folder: Path, stack: ExitStack) -> None:
    """Runs a proxy until the stack closes; its output goes to a file, and its data stay in the folder."""
    program = shutil.which(command[0], path=SEARCHED)
    output = stack.enter_context((folder / "output").open("wb"))
    environment = os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    process = subprocess.Popen([str(program), *command[1:]], stderr=output, env=environment)
    stack.enter_context(process)
    stack.callback(process.terminate)


def _needs(*programs: str, package: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program, path=SEARCHED) is None]
    reason = f"needs {' and '.join(programs)} (on Debian: apt install {package})"
    return pytest.mark.skipif(bool(missing), reason=reason)


PROXIES = [
    pytest.param(_nginx, id="nginx", marks=_needs("nginx", "openssl", package="nginx-light")),
    pytest.param(_caddy, id="caddy", marks=_needs("caddy", package="caddy")),
]


@pytest.fixture(scope="module", params=PROXIES)
def behind(
    request: pytest.FixtureRequest,
    start: Callable[..., Any],
    wait_until: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[httpx.Client]:
    """A client of the service behind a proxy."""
    with ExitStack() as stack:
        server = start(stack, root_path="/segmentation", keep_alive_s=75, engine="torch")
        proxy = Proxy(tmp_path_factory.mktemp("proxy"), free_port(), server.port)
        certificate = request.param(proxy, stack)
        wait_until(lambda: certificate().exists())
        client = stack.enter_context(
            httpx.Client(
                verify=ssl.create_default_context(cafile=certificate()),
                timeout=60,
                base_url=f"https://127.0.0.1:{proxy.port}/segmentation",
            )
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


def test_an_image_larger_than_a_megabyte_is_segmented(behind: httpx.Client, png: bytes):
    answer = behind.post("/segment", files={"file": png})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert len(answer.headers["x-request-id"]) == 32
    large = behind.post("/segment", files={"file": png + bytes(3_000_000)})
    assert large.status_code == 200, large.text


def test_the_prefix_without_a_slash_leads_to_the_page(behind: httpx.Client):
    answer = behind.get(str(behind.base_url).removesuffix("/"), follow_redirects=True)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.url == behind.base_url


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
