"""Packages of other people's nets, served by the real application.

The descriptions have the fields of packages in the public collection that decide how they are served; the nets are
small ones of the same inputs and outputs.
"""

from typing import Any

import cv2
import numpy as np
import pytest

from model.images import decode_image, encode_png
from model.segmenter import Segmenter
from tests.support.packages import describe, foreign_net, onnx, tensor_in, tensor_out, torchscript, write_package

ZSCORED = [{"name": "zero_mean_unit_variance", "kwargs": {"axes": "xy", "mode": "per_sample"}}]
RANGE = [{"name": "scale_range", "kwargs": {"axes": "cyx", "min_percentile": 0, "max_percentile": 100}}]
FREE_256 = {"min": [1, 1, 256, 256], "step": [0, 0, 16, 16]}
FREE_32 = {"min": [1, 1, 32, 32], "step": [0, 0, 16, 16]}
ONE_512 = [1, 1, 512, 512]
INFINITE = [-float("inf"), float("inf")]

COLLECTION: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "affable-shark": (tensor_in(), tensor_out(2), {"norm": "instance"}),
    "powerful-chipmunk": (
        tensor_in(data_type="float32", data_range=INFINITE),
        tensor_out(2),
        {"norm": "instance"},
    ),
    "shivering-raccoon": (tensor_in(shape=FREE_32), tensor_out(2), {"norm": "instance"}),
    "hiding-blowfish": (
        tensor_in(data_type="float32", data_range=INFINITE, shape=FREE_256, preprocessing=RANGE),
        tensor_out(2),
        {},
    ),
    "noisy-hedgehog": (
        tensor_in(data_type="float32", data_range=INFINITE, shape=ONE_512, preprocessing=ZSCORED),
        tensor_out(shape=ONE_512),
        {"norm": "batch"},
    ),
    "pioneering-rhino": (
        tensor_in(data_type="float32", data_range=INFINITE, shape=ONE_512, preprocessing=[]),
        tensor_out(shape=ONE_512),
        {"norm": "batch"},
    ),
}


@pytest.mark.parametrize("nickname", COLLECTION)
def test_packages_of_the_collection_are_served(serve, tmp_path, make_image, nickname):
    taken, given, options = COLLECTION[nickname]
    outputs = 1 if isinstance(given["shape"], list) else int(given["shape"]["scale"][1])
    net = foreign_net(outputs=outputs, **options)
    description = describe([taken], [given], config={"bioimageio": {"nickname": nickname}})
    data = {"onnx": onnx(net)} if nickname == "affable-shark" else {"torchscript": torchscript(net)}
    path = write_package(tmp_path / "package.zip", description, **data)
    client = serve(weights=path, tile=640, engine="auto")
    image = make_image(200, 230)
    answer = client.post("/segment", content=encode_png(image), headers={"Content-Type": "image/png"})
    mask = decode_image(answer.content)
    assert answer.status_code == 200
    assert answer.headers["X-Model"].startswith(f"{nickname}@")
    assert np.array_equal(mask, Segmenter.load(path, tile=640).mask(image))
    model = client.get("/model").json()
    assert model["provenance"]["package"]["license"] == "CC-BY-4.0"
    assert model["architecture"]["outputs"] == outputs
    assert model["architecture"]["reach"] == (None if options.get("norm") == "instance" else 11)


def test_an_image_too_large_for_one_tile_is_refused_with_422(serve, tmp_path, check_problem, make_image):
    net = foreign_net(norm="instance")
    path = write_package(tmp_path / "package.zip", describe(), torchscript=torchscript(net))
    client = serve(weights=path, tile=128)
    body = encode_png(make_image(100, 129))
    problem = check_problem(client.post("/segment", content=body, headers={"Content-Type": "image/png"}), 422)
    assert problem["detail"].startswith("The net looks at the whole image, so it takes at most 128 x 128 pixels")


def test_colours_become_the_channels_of_the_net(serve, tmp_path, make_image):
    net = foreign_net(channels=3)
    description = describe([tensor_in(shape={"min": [1, 3, 64, 64], "step": [0, 0, 16, 16]})], [tensor_out(1 / 3)])
    path = write_package(tmp_path / "package.zip", description, torchscript=torchscript(net, (1, 3, 64, 64)))
    client = serve(weights=path)
    image = make_image(64, 80, channels=3)
    body = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
    answer = client.post("/segment", content=body, headers={"Content-Type": "image/png"})
    assert np.array_equal(decode_image(answer.content), Segmenter.load(path).mask(image))
