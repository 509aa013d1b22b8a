from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.support.open_inference import image_tensor, infer


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a 413 the test client, which has sent everything, would be waited for."""
    monkeypatch.setattr("app.admission.LINGER_S", 0)


@pytest.fixture
def still_serving(client: TestClient, png: bytes) -> Iterator[None]:
    """Whatever the test did, the next request is answered."""
    yield
    assert infer(client, image_tensor(png)).status_code == 200
    assert client.get("/metrics").text.count("segment_queue_pixels 0.0\n") == 1
