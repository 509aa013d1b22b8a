import base64
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from model.segmenter import Segmenter
from tests.support.open_inference import (
    MODEL,
    SIZE,
    MakeImage,
    ToFile,
    error,
    image_tensor,
    infer,
    pack,
    pixel_tensor,
    read_outputs,
)


def test_data_in_json_may_be_nested(client: TestClient, segmenter: Segmenter, make_image: MakeImage, png: bytes):
    expected = segmenter.mask(make_image(*SIZE))
    encoded = base64.b64encode(png).decode()
    tensors: list[dict[str, Any]] = [
        {"name": "input", "datatype": "FP32", "shape": [1, 1, *SIZE], "data": make_image(*SIZE)[None, None].tolist()},
        {"name": "image", "datatype": "BYTES", "shape": [1], "data": [encoded]},
        {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [[encoded]]},
    ]
    for tensor in tensors:
        response = client.post(f"{MODEL}/infer", json={"inputs": [tensor]})
        assert np.array_equal(read_outputs(response)["mask"][0, 0], expected)


def test_several_images_make_one_tensor(
    client: TestClient, segmenter: Segmenter, make_image: MakeImage, to_file: ToFile
):
    pictures = [make_image(*SIZE, seed=seed) for seed in range(3)]
    expected = np.stack([segmenter.mask(picture) for picture in pictures])[:, None]
    files = [to_file(picture) for picture in pictures]
    for tensor in (image_tensor(*files), image_tensor(*files, shape=[3, 1]), pixel_tensor(np.stack(pictures)[:, None])):
        assert np.array_equal(read_outputs(infer(client, tensor))["mask"], expected)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x01\x00\x00\x00",
        b"\xff\xff\xff\xff",
        pack(b"", b""),
        pack(b"") + b"\x01\x00\x00\x00",
    ],
)
def test_elements_that_do_not_fit_are_refused(client: TestClient, data: bytes):
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    error(infer(client, (tensor, data)), 400)
