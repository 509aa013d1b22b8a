import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.application import create_app
from app.service import Service
from app.settings import Settings

Check = Callable[..., dict[str, Any]]


class Links(HTMLParser):
    """Every src and href of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in {"src", "href"} and value]


def _samples(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    response = client.get("/metrics")
    assert response.status_code == 200
    families = list(text_string_to_metric_families(response.text))
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def _key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"segment_{name}", frozenset(labels.items())


def test_before_loading_it_is_alive_and_not_ready(make_settings: Callable[..., Settings], check_problem: Check):
    client = TestClient(create_app(make_settings()))  # no lifespan, so nothing loads
    assert client.get("/healthz").json() == {"status": "ok"}
    assert (client.head("/healthz").status_code, client.head("/readyz").status_code) == (200, 503)
    for method, path in (("GET", "/readyz"), ("GET", "/model"), ("POST", "/segment")):
        response = client.request(method, path)
        check_problem(response, 503)
        assert int(response.headers["retry-after"]) > 0


def test_while_draining_it_is_alive_and_not_ready(
    serve: Callable[..., TestClient], service_of: Callable[[TestClient], Service], check_problem: Check, png: bytes
):
    client = serve()
    service_of(client).drain()
    assert client.get("/healthz").status_code == 200
    check_problem(client.get("/readyz"), 503)
    check_problem(client.post("/segment", files={"file": png}), 503)


def test_when_the_engine_thread_has_ended_it_is_not_healthy(
    serve: Callable[..., TestClient], service_of: Callable[[TestClient], Service], check_problem: Check
):
    client = serve()
    service_of(client).net.scheduler.close()
    check_problem(client.get("/healthz"), 503)


def test_leaving_the_lifespan_ends_the_engine(
    make_settings: Callable[..., Settings], service_of: Callable[[TestClient], Service]
):
    with TestClient(create_app(make_settings())) as client:
        service = service_of(client)
    assert not service.ready
    assert not service.net.scheduler.alive


def test_an_engine_that_cannot_be_made_is_a_failure_with_a_reason(
    make_settings: Callable[..., Settings],
    service_of: Callable[[TestClient], Service],
    wait_until: Callable[[Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
):
    app = create_app(make_settings())
    monkeypatch.setattr(app.state.service, "computing", None)
    with TestClient(app) as client:
        wait_until(lambda: service_of(client).failure)
        assert client.get("/readyz").status_code == 503


def test_get_model_describes_the_served_net(client: TestClient, weights_path: Path):
    answer = client.get("/model").json()
    assert answer["name"] == "small-net"
    assert len(answer["sha256"]) == 64
    assert answer["input_channels"] == answer["architecture"]["in_channels"] == 1
    assert answer["threshold"] == 0.4
    assert answer["labels"] == {"0": "background", "255": "foreground"}
    assert (answer["engine"], answer["device"], answer["precision"]) == ("openvino", "cpu", "fp32")
    assert answer["tta"] == 1
    assert answer["preprocessing"]["channels"] == "grey"
    assert str(weights_path.parent) not in str(answer)


def test_probes_answer(client: TestClient):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_api_pages_need_nothing_from_elsewhere(client: TestClient, page: str):
    html = client.get(page).text
    links = Links(html).found
    assert len(links) >= 2
    assert not re.search(r"https?://|[\"']//", html)
    for link in links:
        assert client.get(link).status_code == 200, link


def test_counters_move_with_a_request(client: TestClient, png: bytes):
    before = _samples(client)
    assert client.post("/segment", files={"file": png}).status_code == 200
    after = _samples(client)
    moved = [
        _key("requests_total", method="POST", route="/segment", status="200"),
        _key("tiles_total"),
        _key("batch_tiles_count"),
        *(_key("stage_seconds_count", stage=stage) for stage in ("decode", "queue", "infer", "encode")),
    ]
    assert [after[key] - before.get(key, 0) for key in moved] == [1] * 7
    assert after[_key("queue_pixels")] == 0


def test_metrics_name_the_model_and_the_process(client: TestClient):
    samples = _samples(client)
    label = client.get("/model").json()
    model = f"{label['name']}@{label['sha256'][:12]}"
    assert samples[_key("model_info", model=model, engine="openvino", device="cpu", precision="fp32")] == 1
    assert any(name.startswith("process_") for name, _ in samples)


def test_made_up_paths_make_no_series_of_their_own(client: TestClient):
    for path in ("/a", "/b", "/segment/c", "/static-offline-docs/d"):
        client.get(path)
    routes = {dict(labels)["route"] for name, labels in _samples(client) if name == "segment_requests_total"}
    assert not routes & {"/a", "/b", "/segment/c", "/static-offline-docs/d"}
    assert "other" in routes


def test_two_services_in_one_process_count_for_themselves(
    client: TestClient, serve: Callable[..., TestClient], png: bytes
):
    other = serve()
    client.post("/segment", files={"file": png})
    assert _key("requests_total", method="POST", route="/segment", status="200") not in _samples(other)


def test_pages_of_allowed_origins_may_call_and_read_headers(serve: Callable[..., TestClient], png: bytes):
    client = serve(cors_origins="https://lab.example", api_keys="secret")
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    allowed = client.options("/segment", headers={"Origin": "https://lab.example", **asked})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://lab.example"
    assert "X-API-Key" in allowed.headers["access-control-allow-headers"]
    sent = {"Origin": "https://lab.example", "X-API-Key": "secret"}
    answer = client.post("/segment", files={"file": png}, headers=sent)
    assert answer.headers["access-control-allow-origin"] == "https://lab.example"
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    names = {"X-Model", "X-Notice", "X-Pages", "X-Pixel-Size", "X-Request-ID", "X-Channels"}
    names |= {"X-Channel-Pages", "X-Places", "X-Spacing"}
    names |= {"Server-Timing", "Retry-After", "Content-Disposition"}
    assert exposed == names
    refused = client.post("/segment", files={"file": png}, headers={"Origin": "https://lab.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://lab.example")
    assert client.options("/segment", headers={"Origin": "https://other.example", **asked}).status_code == 400


def test_without_origins_no_other_page_may_call(client: TestClient, check_problem: Check, png: bytes):
    asked = {"Origin": "https://lab.example", "Access-Control-Request-Method": "POST"}
    check_problem(client.options("/segment", headers=asked), 405)
    answer = client.post("/segment", files={"file": png}, headers={"Origin": "https://lab.example"})
    assert "access-control-allow-origin" not in answer.headers
