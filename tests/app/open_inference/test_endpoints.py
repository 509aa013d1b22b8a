from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.application import create_app
from app.settings import Settings
from tests.support.open_inference import MODEL, error, image_tensor, infer


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", f"{MODEL}/ready", f"{MODEL}/versions/1/ready"])
def test_health_answers(client: TestClient, path: str):
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", f"/v2/models/other{end}", 404) for end in ("", "/ready", "/config", "/versions/1")),
        ("GET", f"{MODEL}/versions/2", 404),
        ("GET", f"{MODEL}/versions/2/ready", 404),
        ("POST", f"{MODEL}/versions/2/infer", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/nowhere", 404),
        ("POST", "/v2/repository/models/small-net/load", 404),
        ("GET", f"{MODEL}/infer", 405),
    ],
)
def test_unknown_paths_get_an_error_of_the_protocol(client: TestClient, method: str, path: str, status: int):
    assert error(client.request(method, path), status)


def test_before_loading_it_is_live_and_not_ready(make_settings: Callable[..., Settings]):
    client = TestClient(create_app(make_settings()))  # no lifespan, so nothing loads
    assert client.get("/v2/health/live").status_code == 200
    for method, path in (("GET", "/v2/health/ready"), ("GET", f"{MODEL}/ready"), ("POST", f"{MODEL}/infer")):
        response = client.request(method, path)
        error(response, 503)
        assert int(response.headers["retry-after"]) > 0


def test_admission_covers_inference_and_speaks_the_protocol(serve: Callable[..., TestClient], png: bytes):
    client = serve(api_keys="right", max_body_bytes=2000)
    response = infer(client, image_tensor(png))
    error(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"
    key = {"X-API-Key": "right"}
    assert infer(client, image_tensor(png), key).status_code == 200
    assert "2000" in error(infer(client, image_tensor(bytes(3000)), key), 413)
    assert client.get(MODEL).status_code == 200


def test_without_room_it_is_503_and_past_the_deadline_504(
    serve: Callable[..., TestClient], hold: Callable[[TestClient], Any], png: bytes
):
    client = serve(deadline_s=0.5, max_queue_pixels=1000)
    hold(client)
    assert "0.5 s" in error(infer(client, image_tensor(png)), 504)
    # what is being computed still takes its room
    response = infer(client, image_tensor(png))
    error(response, 503)
    assert int(response.headers["retry-after"]) > 0


def test_metrics_know_the_routes_and_not_the_names(client: TestClient, png: bytes):
    before = client.get("/metrics").text
    infer(client, image_tensor(png))
    client.get("/v2/health/live")
    for name in ("made", "up"):
        client.get(f"/v2/models/{name}")
        client.post(f"/v2/models/{name}/infer")
        client.get(f"/v2/{name}")
    text = client.get("/metrics").text
    assert 'route="/v2/models/{name}/infer",status="200"' in text
    assert 'route="/v2/models/{name}/infer",status="404"' in text
    assert 'route="/v2/models/{name}",status="404"' in text
    assert 'route="/v2/health/live",status="200"' in text
    assert "made" not in text
    counted = [line for line in text.splitlines() if line.startswith('segment_stage_seconds_count{stage="infer"}')]
    assert counted[0] not in before


def test_the_document_says_what_inference_refuses_with(client: TestClient):
    responses = client.get("/openapi.json").json()["paths"]["/v2/models/{name}/infer"]["post"]["responses"]
    assert responses.keys() >= {"200", "400", "401", "404", "413", "415", "503", "504"}
    assert responses["404"]["content"]["application/json"]["schema"]["required"] == ["error"]
