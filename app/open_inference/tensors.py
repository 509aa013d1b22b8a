"""Tensors in and out: as numbers and base64 in JSON, or as bytes after it (little-endian, row-major).

Shape letters: N images, C channels, K classes, H height, W width.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.open_inference.protocol import ImageInput, OutputName, PixelInput, bad_request

# 2048 x 2048. As JSON, each value takes up to 20 bytes, and as many in the reader.
MOST_JSON_VALUES = 2**22

# Numbers turned to text at once: the event loop gets its turns in between.
_CHUNK = 2**16


def read_files(tensor: ImageInput, binary: memoryview) -> list[bytes]:
    """The N elements of `image`. Raises Problem, 400."""
    count = math.prod(tensor.shape)
    if tensor.shape[1:] not in ([], [1]):
        raise bad_request("The shape of image is [N] or [N, 1].")
    in_json = tensor.parameters.binary_data_size is None
    elements = list(_array(tensor).ravel()) if in_json else list(islice(_elements(_binary(tensor, binary)), count + 1))
    if len(elements) != count:
        raise bad_request("The data of image are not as many files as its shape says.")
    return [_from_base64(element) for element in elements] if in_json else elements


def read_pixels(tensor: PixelInput, binary: memoryview) -> NDArray[np.float32]:
    """`input`, N x C x H x W float32, all of them finite. Raises Problem, 400."""
    if tensor.parameters.binary_data_size is None:
        numbers = _array(tensor)
        if numbers.dtype.kind not in "iuf":
            raise bad_request("The data of input are numbers, flat or nested as the shape says.")
        with np.errstate(over="ignore"):  # too large for float32 is infinite there, and refused below
            values = numbers.astype(np.float32)
    else:
        data = _binary(tensor, binary)
        if len(data) % 4:
            raise bad_request("The data of input are not as many values as its shape says.")
        values = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
    if values.size != math.prod(tensor.shape):
        raise bad_request("The data of input are not as many values as its shape says.")
    if not np.isfinite(values).all():
        raise bad_request("The data of input must be finite.")
    return values.reshape(tensor.shape)


def _array(tensor: ImageInput | PixelInput) -> NDArray[Any]:
    """The data in the JSON, nested or flat; of type object if they are not numbers."""
    if not isinstance(tensor.data, list):
        raise bad_request(f"The tensor {tensor.name} has neither a list in data nor a binary_data_size.")
    try:
        return np.array(tensor.data, object if tensor.name == "image" else None)
    except ValueError as error:
        raise bad_request(f"The data of {tensor.name} are nested unevenly.") from error


def _binary(tensor: ImageInput | PixelInput, binary: memoryview) -> memoryview:
    if tensor.parameters.binary_data_size != len(binary):
        raise bad_request(f"The binary_data_size of {tensor.name} is not the number of bytes after the JSON.")
    return binary


def _elements(binary: memoryview) -> Iterator[bytes]:
    """The elements of a binary BYTES tensor: 4 bytes of length, then as many."""
    start = 0
    while start < len(binary):
        end = start + 4 + int.from_bytes(binary[start : start + 4], "little")
        if start + 4 > len(binary) or end > len(binary):
            raise bad_request("The data of image end within an element.")
        yield bytes(binary[start + 4 : end])
        start = end


def _from_base64(element: object) -> bytes:
    try:
        if isinstance(element, str):
            return base64.b64decode(element, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_request("In JSON, the data of image are the base64 of each file.") from error
    raise bad_request("In JSON, the data of image are the base64 of each file.")


@dataclass(frozen=True)
class OutputTensor:
    """`parts`: the N files of a BYTES tensor, or arrays that follow each other along its first axis."""

    name: OutputName
    datatype: str
    shape: Sequence[int]
    parts: Sequence[bytes] | Sequence[NDArray[Any]]


def to_json(tensor: OutputTensor) -> bytes:
    """The tensor with its data, which are flat."""
    head = json.dumps({"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape})
    data = b",".join(text for part in tensor.parts for text in _texts(part))
    return b'%b,"data":[%b]}' % (head[:-1].encode(), data)


def _texts(part: bytes | NDArray[Any]) -> Iterator[bytes]:
    if isinstance(part, bytes):
        yield b'"%b"' % base64.b64encode(part)
        return
    values = part.ravel()
    for start in range(0, values.size, _CHUNK):
        yield json.dumps(values[start : start + _CHUNK].tolist(), separators=(",", ":"))[1:-1].encode()


def to_binary(tensor: OutputTensor) -> tuple[bytes, list[bytes | memoryview]]:
    """The tensor without its data, and the data."""
    data = [piece for part in tensor.parts for piece in _pieces(part)]
    head = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
    size = sum(len(piece) for piece in data)
    return json.dumps(head | {"parameters": {"binary_data_size": size}}).encode(), data


def _pieces(part: bytes | NDArray[Any]) -> list[bytes | memoryview]:
    if isinstance(part, bytes):
        return [len(part).to_bytes(4, "little"), part]
    little = np.ascontiguousarray(part, part.dtype.newbyteorder("<"))
    return [little.data.cast("B")]
