"""What is monitored: the dashboard asks for metrics that there are."""

import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards" / "segmentation.json"


def _queries() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return asked + [variable["definition"] for variable in dashboard["templating"]["list"]]


@pytest.mark.parametrize("query", _queries())
def test_the_dashboard_asks_for_metrics_and_labels_that_there_are(client: TestClient, png: bytes, query: str):
    client.post("/segment", files={"file": png})
    client.post("/segment", files={"file": b"no image"})
    given = client.get("/metrics").text
    found = set(re.findall(r"^# TYPE (\w+) ", given, re.MULTILINE)) | set(re.findall(r"^(\w+)", given, re.MULTILINE))
    names = set(re.findall(r"\b(?:segment|process)_\w+", query))
    assert names
    assert names <= found
    labels = {label for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")} - {"le"}
    for label in labels:
        assert re.search(rf"^{min(names)}.*\b{label}=", given, re.MULTILINE), label


def test_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        taken |= cells
