"""Requests of the Open Inference Protocol, as clients other than tritonclient may make them."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from model.inputs.preprocessing import Pixels

MODEL = "/v2/models/small-net"


MASK = [{"name": "mask", "parameters": {"binary_data": True}}]


SIZE = (24, 30)


MakeImage = Callable[..., Pixels]


ToFile = Callable[..., bytes]


def pack(*files: bytes) -> bytes:
    """The elements of a binary BYTES tensor."""
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def image_tensor(*files: bytes, shape: list[int] | None = None) -> tuple[dict[str, Any], bytes]:
    """A binary `image`."""
    data = pack(*files)
    tensor = {"name": "image", "datatype": "BYTES", "shape": shape or [len(files)]}
    return tensor | {"parameters": {"binary_data_size": len(data)}}, data


def pixel_tensor(values: Any, binary: bool = True) -> tuple[dict[str, Any], bytes]:
    """`input`, N x C x H x W."""
    values = np.asarray(values, np.float32)
    tensor = {"name": "input", "datatype": "FP32", "shape": list(values.shape)}
    if not binary:
        return tensor | {"data": values.ravel().tolist()}, b""
    return tensor | {"parameters": {"binary_data_size": values.nbytes}}, values.tobytes()


def infer(
    client: TestClient,
    tensor: tuple[dict[str, Any], bytes],
    headers: dict[str, str] | None = None,
    path: str = MODEL,
    **request: Any,
) -> Any:
    text = json.dumps({"inputs": [tensor[0]], **request}).encode()
    length = {"Inference-Header-Content-Length": str(len(text))}
    return client.post(f"{path}/infer", content=text + tensor[1], headers=length | (headers or {}))


def read_outputs(response: Any) -> dict[str, Any]:
    """The outputs of an answer, by name; BYTES as lists."""
    assert response.status_code == 200, response.text
    length = response.headers.get("inference-header-content-length")
    body, outputs = response.content, {}
    assert response.headers["content-type"] == ("application/octet-stream" if length else "application/json")
    start = int(length or len(body))
    for output in json.loads(body[:start])["outputs"]:
        kind = {"UINT8": np.uint8, "FP32": np.float32, "BYTES": object}[output["datatype"]]
        if "data" in output:
            outputs[output["name"]] = np.array(output["data"], kind).reshape(output["shape"])
            continue
        end = start + output["parameters"]["binary_data_size"]
        part, start = body[start:end], end
        outputs[output["name"]] = part if kind is object else np.frombuffer(part, kind).reshape(output["shape"])
    assert start == len(body)
    return outputs


def error(response: Any, status: int) -> str:
    """The text of an error as the protocol has them, which tells nothing of the inside."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error"}
    for telltale in (str(Path.cwd()), "/tmp", "Traceback", "Error:", "Exception", ".py", "pydantic"):  # noqa: S108
        assert telltale not in response.text
    return str(body["error"])
