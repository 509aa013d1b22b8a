"""The OpenAPI document."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import __version__
from app.openapi import ServedModel


@pytest.fixture(scope="module")
def schema(client: TestClient) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").json()
    return document


def _operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for calls in schema["paths"].values():
        yield from calls.values()


def test_the_document_describes_the_contract(schema: dict[str, Any]):
    assert schema["info"]["version"] == __version__
    kit = ("parameters", "signature", "info", "n_samples", "sample/{index}", "tileable", "is_stream", "process")
    assert {path for path in schema["paths"] if not path.startswith("/v2")} == {
        *("/algorithms", *(f"/{{name}}/{call}" for call in kit)),
        *("/segment", "/progress/{request_id}", "/labels", "/model", "/models", "/models/{name}/example/{picture}"),
        *("/healthz", "/readyz", "/metrics"),
    }
    assert "/v2/models/{name}/infer" in schema["paths"]
    segment = schema["paths"]["/segment"]["post"]
    parameters = {"model", "output", "threshold", "channel", "min_area", "class"}
    assert {parameter["name"] for parameter in segment["parameters"]} == parameters
    content = segment["requestBody"]["content"]
    assert {"multipart/form-data", "image/png", "image/tiff"} <= content.keys()
    assert content["multipart/form-data"]["schema"]["properties"].keys() == {*("file", *parameters)}
    # generators would send null as the text "None"
    assert all("anyOf" not in parameter["schema"] for parameter in segment["parameters"])
    responses = segment["responses"]
    assert responses.keys() == {"200", *("400", "401", "406", "408", "413", "415", "422", "503", "504")}
    assert responses["200"]["headers"].keys() == {
        *(
            "X-Model",
            "X-Request-ID",
            "X-Notice",
            "X-Pages",
            "X-Channel-Pages",
            "X-Channels",
            "X-Pixel-Size",
            "X-Places",
            "X-Spacing",
            "Server-Timing",
            "Content-Disposition",
        )
    }
    assert "Retry-After" in responses["503"]["headers"]


def test_calls_have_stable_names_and_tags(schema: dict[str, Any]):
    names = [operation["operationId"] for operation in _operations(schema)]
    assert len(names) == len(set(names))
    assert {"segment", "save_labels", "get_model", "get_health", "get_readiness", "get_metrics", "infer"} <= set(names)
    tags = {tag["name"] for tag in schema["tags"]}
    assert all(set(operation["tags"]) <= tags and operation["tags"] for operation in _operations(schema))


def test_all_errors_have_one_schema(schema: dict[str, Any], client: TestClient):
    problem = schema["components"]["schemas"]["Problem"]
    assert client.post("/segment").json().keys() == problem["properties"].keys() == set(problem["required"])
    for path, calls in schema["paths"].items():
        errors = [answer for call in calls.values() for status, answer in call["responses"].items() if status >= "4"]
        if not path.startswith("/v2"):
            content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
            assert [answer["content"] for answer in errors] == [content] * len(errors)


def test_saving_labels_is_described(schema: dict[str, Any]):
    save = schema["paths"]["/labels"]["post"]
    assert {parameter["name"] for parameter in save["parameters"]} == {"model", "name", "page", "threshold"}
    form = save["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["image", "label"]
    assert form["properties"].keys() == {"image", "label", "model", "name", "page", "threshold"}
    statuses = {"201", *("400", "401", "403", "404", "408", "413", "415", "422", "503", "504", "507")}
    assert save["responses"].keys() == statuses
    assert save["responses"]["201"]["headers"].keys() == {"X-Model", "X-Request-ID"}


def test_references_lead_somewhere(schema: dict[str, Any]):
    def references(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            part = list(part.values())
        if isinstance(part, list):
            for each in part:
                yield from references(each)

    found = set(references(schema))
    assert found
    assert {reference.removeprefix("#/components/schemas/") for reference in found} <= schema["components"][
        "schemas"
    ].keys()


def test_the_served_model_is_typed(schema: dict[str, Any], client: TestClient):
    described = schema["paths"]["/model"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert described == {"$ref": "#/components/schemas/ServedModel"}
    assert ServedModel.model_validate(client.get("/model").json()).name == "small-net"


def test_calls_that_need_a_key_say_so(serve: Callable[..., TestClient], schema: dict[str, Any]):
    locked = serve(api_keys="secret").get("/openapi.json").json()
    keys: list[dict[str, Any]] = [{"bearer": []}, {"apiKey": []}]
    assert locked["components"]["securitySchemes"].keys() == {"bearer", "apiKey"}
    for path in ("/segment", "/labels", "/v2/models/{name}/infer"):
        assert locked["paths"][path]["post"]["security"] == keys
        assert schema["paths"][path]["post"]["security"] == [*keys, {}]  # without keys the call is open
    assert locked["paths"]["/progress/{request_id}"]["get"]["security"] == keys
    assert "security" not in locked["paths"]["/model"]["get"]
