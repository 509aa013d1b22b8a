import gzip
import json
import zlib
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from tests.support.open_inference import MODEL, error, image_tensor


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bodies_may_be_compressed(client: TestClient, png: bytes, coding: str, compress: Callable[[bytes], bytes]):
    tensor, data = image_tensor(png)
    text = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text)), "Content-Encoding": coding}
    sent = compress(text + data)
    response = client.post(f"{MODEL}/infer", content=sent, headers=headers | {"Accept-Encoding": coding})
    assert response.headers["content-encoding"] == coding
    plain = client.post(f"{MODEL}/infer", content=sent, headers=headers | {"Accept-Encoding": "gzip, deflate"})
    assert "content-encoding" not in plain.headers
    assert response.json() == plain.json()
    bomb = client.post(f"{MODEL}/infer", content=compress(bytes(400_001)), headers=headers)
    assert "400000" in error(bomb, 413)
    for broken in (sent[:-1], sent + b"more", b"", text):
        error(client.post(f"{MODEL}/infer", content=broken, headers=headers), 400)
    error(client.post(f"{MODEL}/infer", content=sent, headers=headers | {"Content-Encoding": "br"}), 415)
