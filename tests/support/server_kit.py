"""Requests of the Imaging Server Kit, as its clients make them, and also as they never would."""

import base64
import io
import warnings
from typing import Any

import msgpack
import tifffile
from fastapi.testclient import TestClient
from numpy.typing import NDArray

ALGORITHM = "/small-net"

AS_STREAM = {"Accept": "application/msgpack"}

QUPATH = {"User-Agent": "Java/QuPath"}


def tiff(array: NDArray[Any], **options: Any) -> bytes:
    """The file that clients make of an array."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tifffile's, that three pages may be no colours
        tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def image_layer(file: bytes) -> dict[str, Any]:
    """A layer with the base64 of a file."""
    return {"kind": "image", "name": "image", "data": base64.b64encode(file).decode(), "meta": {}, "tile_meta": None}


def parameter(name: str, value: Any, kind: str = "str") -> dict[str, Any]:
    """A layer with the value of a parameter."""
    return {"kind": kind, "name": name, "data": value, "meta": {}}


def process(
    client: TestClient, image: NDArray[Any] | bytes, headers: dict[str, str] | None = None, **values: Any
) -> Any:
    """The response to an array, or to the bytes of a file."""
    file = image if isinstance(image, bytes) else tiff(image)
    layers = [image_layer(file), *(parameter(name, value) for name, value in values.items())]
    return client.post(f"{ALGORITHM}/process", json=layers, headers=headers)


def read_layer(response: Any) -> dict[str, Any]:
    """The one layer of a response."""
    if response.headers["content-type"] == "application/msgpack":
        assert response.status_code == 200, response.text
        (layer,) = msgpack.Unpacker(io.BytesIO(response.content))
    else:
        assert response.status_code == 201, response.text
        (layer,) = response.json()
    assert layer.keys() == {"kind", "name", "data", "meta", "tile_meta"}
    found: dict[str, Any] = layer
    return found


def read_array(text: str) -> NDArray[Any]:
    """The array in the base64 of a TIFF file, as clients decode it."""
    array: NDArray[Any] = tifffile.imread(io.BytesIO(base64.b64decode(text)))
    return array
