import gzip
import json
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from fastapi.testclient import TestClient

from app.application import create_app
from app.settings import Settings
from model.images.encoding import encode_png
from model.inputs.card import Card, Example
from model.segmenter import Segmenter
from tests.support.server_kit import (
    ALGORITHM,
    AS_STREAM,
    QUPATH,
    image_layer,
    parameter,
    process,
    read_array,
    read_layer,
    tiff,
)
from tests.support.small_net import save_small_net

CheckProblem = Callable[[Any, int], dict[str, Any]]


def test_the_net_is_an_algorithm(client: TestClient):
    assert client.get("/algorithms").json() == {"algorithms": ["small-net"]}
    assert client.get(f"{ALGORITHM}/signature").json() == list(
        client.get(f"{ALGORITHM}/parameters").json()["properties"]
    )
    assert client.get(f"{ALGORITHM}/n_samples").json() == {"n_samples": 0}
    assert client.get(f"{ALGORITHM}/tileable").json() == {"tileable": False}
    assert client.get(f"{ALGORITHM}/is_stream").json() is False
    page = client.get(f"{ALGORITHM}/info")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_card_and_example_of_the_weights_are_page_and_sample(
    serve: Callable[..., TestClient], tmp_path: Path, check_problem: CheckProblem
):
    image = np.arange(35 * 20, dtype=np.uint16).astype(np.uint8).reshape(20, 35)
    example = Example.of(encode_png(image), encode_png(image // 128 * 255))
    card = Card(segments="Finds <dots>.", modality="fluorescence microscopy", pixel_size_um=0.5)
    client = serve(weights=save_small_net(tmp_path / "dots.safetensors", card=card, example=example))
    assert client.get("/dots/n_samples").json() == {"n_samples": 1}
    [layer] = client.get("/dots/sample/0").json()
    assert (layer["kind"], layer["name"]) == ("image", "image")
    assert np.array_equal(tifffile.imread(BytesIO(b64decode(layer["data"]))), image)
    assert check_problem(client.get("/dots/sample/1"), 404)["detail"].endswith("dots has 1, numbered from 0.")
    page = client.get("/dots/info").text
    for text in ("Finds &lt;dots&gt;.", "Images: fluorescence microscopy", "Pixel size: 0.5 micrometres"):
        assert f"<p>{text}</p>" in page


@pytest.mark.parametrize("call", ["parameters", "signature", "info", "n_samples", "tileable", "sample/0", "process"])
def test_unknown_names_get_a_problem_that_lists_the_names(client: TestClient, check_problem: CheckProblem, call: str):
    response = client.request("POST" if call == "process" else "GET", f"/other/{call}")
    assert check_problem(response, 404)["detail"] == "There is no algorithm other; the algorithms are small-net."


def test_other_calls_keep_their_paths(client: TestClient, check_problem: CheckProblem):
    for path in ("/static/info", "/docs/other", "/progress/x1", "/small-net/other"):
        assert "no algorithm" not in check_problem(client.get(path), 404)["detail"]
    assert client.get("/v2/info").json() == {"error": "There is no algorithm v2; the algorithms are small-net."}


def test_before_loading_nothing_is_listed(make_settings: Callable[..., Settings], check_problem: CheckProblem):
    client = TestClient(create_app(make_settings()))  # no lifespan, so nothing loads
    for path in ("/algorithms", f"{ALGORITHM}/parameters"):
        check_problem(client.get(path), 503)
    check_problem(client.post(f"{ALGORITHM}/process"), 503)


@pytest.mark.parametrize("headers", [AS_STREAM, {}], ids=["MessagePack", "JSON"])
def test_the_answer_has_the_form_that_the_client_accepts(
    client: TestClient, segmenter: Segmenter, make_image: Any, headers: dict[str, str]
):
    image = make_image(40, 33)
    response = process(client, image, headers)
    layer = read_layer(response)
    assert (layer["kind"], layer["name"]) == ("mask", "small-net mask")
    assert np.array_equal(read_array(layer["data"]), segmenter.mask(image))
    assert response.headers["x-model"].startswith("small-net@")
    assert response.headers["server-timing"].startswith("decode;dur=")


def test_a_file_of_any_format_is_accepted(client: TestClient, segmenter: Segmenter, make_image: Any, to_file: Any):
    image = make_image(24, 30)
    assert np.array_equal(read_array(read_layer(process(client, to_file(image)))["data"]), segmenter.mask(image))


def test_pages_of_several_sizes_make_no_array(client: TestClient, check_problem: CheckProblem):
    out = BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for side in (32, 40):
            writer.write(np.zeros((side, side), np.uint8))
    said = check_problem(process(client, out.getvalue()), 422)["detail"]
    assert "32 x 32, 40 x 40; pages of one size are expected" in said
    assert process(client, out.getvalue(), output="points").status_code == 201


@pytest.mark.parametrize(
    ("image", "status", "said"),
    [
        (b"", 400, "empty"),
        (b"II*\x00" + bytes(100), 400, "TIFF"),
        (tiff(np.zeros((50, 60), np.uint8))[:900], 400, "TIFF"),
        (tiff(np.zeros((50, 60), np.complex64)), 415, "not accepted"),
        (b"\x80\x05]q\x00.", 400, "not an image"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}", 415, "NPY is not accepted"),
    ],
)
def test_damaged_images_are_problems(
    client: TestClient, check_problem: CheckProblem, image: bytes, status: int, said: str
):
    assert said in check_problem(process(client, image), status)["detail"]


def test_an_image_of_too_many_pixels_is_refused_by_its_header(
    serve: Callable[..., TestClient], check_problem: CheckProblem
):
    client = serve(max_pixels=1000, max_body_bytes=5000)
    small = tiff(np.zeros((5000, 5000), np.uint8), compression="zlib")  # 25 million pixels
    assert len(small) > 5000
    check_problem(process(client, small), 413)
    flat = tiff(np.zeros((40, 26), np.uint8), compression="zlib")
    assert "26 x 40 pixels, more than 1000" in check_problem(process(client, flat), 422)["detail"]
    assert process(client, np.zeros((40, 25), np.uint8)).status_code == 201


def test_a_compressed_body_is_bounded_when_it_is_inflated(
    serve: Callable[..., TestClient], check_problem: CheckProblem
):
    client = serve(max_body_bytes=5000)
    body = gzip.compress(json.dumps([image_layer(tiff(np.zeros((40, 25), np.uint8)))]).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert client.post(f"{ALGORITHM}/process", content=body, headers=headers).status_code == 201
    check_problem(client.post(f"{ALGORITHM}/process", content=gzip.compress(bytes(5001)), headers=headers), 413)


def test_admission_covers_the_call(serve: Callable[..., TestClient], png: bytes, check_problem: CheckProblem):
    client = serve(api_keys="right", max_body_bytes=3000)
    check_problem(process(client, png), 401)
    client.auth = ("anybody", "right")
    assert process(client, png).status_code == 201
    assert "3000 bytes" in check_problem(process(client, bytes(4000)), 413)["detail"]


def test_without_capacity_it_is_503_and_past_the_deadline_504(
    serve: Callable[..., TestClient], hold: Callable[[TestClient], Any], png: bytes, check_problem: CheckProblem
):
    client = serve(deadline_s=0.5, max_queue_pixels=1000)
    hold(client)
    assert "0.5 s" in check_problem(process(client, png), 504)["detail"]
    # the engine still computes, so the queue is full
    assert int(process(client, png).headers["retry-after"]) > 0


def test_metrics_know_the_routes_and_not_the_names(client: TestClient, png: bytes):
    process(client, png)
    client.post("/made-up/process")
    client.get("/made-up/info")
    text = client.get("/metrics").text
    assert 'route="/{name}/process",status="201"' in text
    assert 'route="/{name}/process",status="404"' in text
    assert 'route="/{name}/info",status="404"' in text
    assert "made-up" not in text


def test_a_net_of_several_classes_gives_class_indices(
    serve: Callable[..., TestClient], classes_path: Path, make_segmenter: Callable[..., Segmenter], make_image: Any
):
    client, image = serve(weights=classes_path), make_image(24, 30)
    layers = [image_layer(tiff(image)), parameter("min_area", 0), parameter("channel", "")]
    response = client.post("/three-classes/process", json=layers, headers=AS_STREAM)
    assert np.array_equal(read_array(read_layer(response)["data"]), make_segmenter(classes_path).mask(image))


def test_qupath_gets_the_polygons_of_geojson(client: TestClient, png: bytes):
    expected = client.post("/segment", params={"output": "geojson"}, files={"file": png}).json()["features"]
    response = process(client, png, QUPATH)
    layer = read_layer(response)
    assert layer["kind"] == "mask"
    assert layer["data"] == expected
    assert expected
