"""The calls under /v2, with requests as other clients than tritonclient may make them."""

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.application import create_app
from app.settings import Settings
from model.images.decoding import decode_image
from model.preprocessing import Pixels
from model.segmenter import Segmenter

MODEL = "/v2/models/small-net"
MASK = [{"name": "mask", "parameters": {"binary_data": True}}]
SIZE = (24, 30)

MakeImage = Callable[..., Pixels]
ToFile = Callable[..., bytes]


def _bytes(*files: bytes) -> bytes:
    """The elements of a binary BYTES tensor."""
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def _image(*files: bytes, shape: list[int] | None = None) -> tuple[dict[str, Any], bytes]:
    """A binary `image`."""
    data = _bytes(*files)
    tensor = {"name": "image", "datatype": "BYTES", "shape": shape or [len(files)]}
    return tensor | {"parameters": {"binary_data_size": len(data)}}, data


def _input(values: Any, binary: bool = True) -> tuple[dict[str, Any], bytes]:
    """`input`, N x C x H x W."""
    values = np.asarray(values, np.float32)
    tensor = {"name": "input", "datatype": "FP32", "shape": list(values.shape)}
    if not binary:
        return tensor | {"data": values.ravel().tolist()}, b""
    return tensor | {"parameters": {"binary_data_size": values.nbytes}}, values.tobytes()


def _infer(
    client: TestClient,
    tensor: tuple[dict[str, Any], bytes],
    headers: dict[str, str] | None = None,
    path: str = MODEL,
    **request: Any,
) -> Any:
    text = json.dumps({"inputs": [tensor[0]], **request}).encode()
    length = {"Inference-Header-Content-Length": str(len(text))}
    return client.post(f"{path}/infer", content=text + tensor[1], headers=length | (headers or {}))


def _read(response: Any) -> dict[str, Any]:
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


def _error(response: Any, status: int) -> str:
    """The text of an error as the protocol has them, which tells nothing of the inside."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error"}
    for telltale in (str(Path.cwd()), "/tmp", "Traceback", "Error:", "Exception", ".py", "pydantic"):  # noqa: S108
        assert telltale not in response.text
    return str(body["error"])


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a 413 the test client, which has sent everything, would be waited for."""
    monkeypatch.setattr("app.admission.LINGER_S", 0)


@pytest.fixture
def still_serving(client: TestClient, png: bytes) -> Iterator[None]:
    """Whatever the test did, the next request is answered."""
    yield
    assert _infer(client, _image(png)).status_code == 200
    assert client.get("/metrics").text.count("segment_queue_pixels 0.0\n") == 1


@pytest.fixture(scope="module")
def zscore_client(start: Callable[..., TestClient], zscore_path: Path) -> Iterator[TestClient]:
    with ExitStack() as stack:
        yield start(stack, weights=zscore_path)


# --- What is there ----------------------------------------------------------------------------------------------------


def test_the_server_and_its_model_describe_themselves(client: TestClient):
    assert "binary_tensor_data" in client.get("/v2").json()["extensions"]
    told = client.get(MODEL).json()
    assert (told["name"], told["versions"], told["platform"]) == ("small-net", ["1"], "openvino")
    tensors = {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in told["inputs"] + told["outputs"]}
    assert tensors == {
        "image": ("BYTES", [-1]),
        "input": ("FP32", [-1, 1, -1, -1]),
        "mask": ("UINT8", [-1, 1, -1, -1]),
        "probability": ("FP32", [-1, 1, -1, -1]),
        "mask_png": ("BYTES", [-1]),
    }
    assert client.get(f"{MODEL}/versions/1").json() == told
    config = client.get(f"{MODEL}/config").json()
    assert [tensor["data_type"] for tensor in config["input"]] == ["TYPE_STRING", "TYPE_FP32"]


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", f"{MODEL}/ready", f"{MODEL}/versions/1/ready"])
def test_health_answers(client: TestClient, path: str):
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", f"/v2/models/other{end}", 404) for end in ("", "/ready", "/config", "/versions/1")),
        ("GET", f"{MODEL}/versions/2", 404),
        ("GET", f"{MODEL}/versions/2/ready", 404),
        ("POST", f"{MODEL}/versions/2/infer", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/nowhere", 404),
        ("POST", "/v2/repository/index", 404),
        ("GET", f"{MODEL}/infer", 405),
    ],
)
def test_unknown_paths_get_an_error_of_the_protocol(client: TestClient, method: str, path: str, status: int):
    assert _error(client.request(method, path), status)


def test_before_loading_it_is_live_and_not_ready(make_settings: Callable[..., Settings]):
    client = TestClient(create_app(make_settings()))  # no lifespan, so nothing loads
    assert client.get("/v2/health/live").status_code == 200
    for method, path in (("GET", "/v2/health/ready"), ("GET", f"{MODEL}/ready"), ("POST", f"{MODEL}/infer")):
        response = client.request(method, path)
        _error(response, 503)
        assert int(response.headers["retry-after"]) > 0


# --- Inputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("dtype", "factor"),
    [(np.uint8, 1), (np.uint8, 1 / 255), (np.uint8, np.float32(1 / 255)), (np.uint16, 1), (np.uint16, 1 / 65535)],
)
def test_pixel_values_of_any_scale_give_the_mask_of_the_same_file(
    client: TestClient, segmenter: Segmenter, make_image: MakeImage, dtype: Any, factor: float, binary: bool
):
    image = make_image(40, 50, dtype=dtype)
    outputs = _read(_infer(client, _input(image[None, None] * np.float32(factor), binary), outputs=MASK))
    assert np.array_equal(outputs["mask"], segmenter.mask(image)[None, None])
    assert len(np.unique(outputs["mask"])) == 2


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
        assert np.array_equal(_read(response)["mask"][0, 0], expected)


def test_several_images_make_one_tensor(
    client: TestClient, segmenter: Segmenter, make_image: MakeImage, to_file: ToFile
):
    pictures = [make_image(*SIZE, seed=seed) for seed in range(3)]
    expected = np.stack([segmenter.mask(picture) for picture in pictures])[:, None]
    files = [to_file(picture) for picture in pictures]
    for tensor in (_image(*files), _image(*files, shape=[3, 1]), _input(np.stack(pictures)[:, None])):
        assert np.array_equal(_read(_infer(client, tensor))["mask"], expected)


def test_colour_values_give_a_grey_net_the_mask_of_the_same_file(
    client: TestClient, make_image: MakeImage, to_file: ToFile
):
    colour = make_image(*SIZE, 3)
    masks = [
        _read(_infer(client, tensor))["mask"]
        for tensor in (_image(to_file(colour)), _input(colour.transpose(2, 0, 1)[None] / 255))
    ]
    assert np.array_equal(*masks)


@pytest.mark.parametrize(("factor", "shift"), [(1e-3, 0), (1, -100), (1 / 60, -2), (1e6, -1e8)])
def test_scale_means_nothing_to_a_net_of_zscored_input(
    zscore_client: TestClient,
    make_segmenter: Callable[..., Segmenter],
    zscore_path: Path,
    make_image: MakeImage,
    factor: float,
    shift: float,
):
    image = make_image(*SIZE)
    expected = make_segmenter(zscore_path).probabilities(image)
    response = _infer(
        zscore_client, _input(np.float64(image[None, None]) * factor + shift), path="/v2/models/zscore-net"
    )
    assert np.abs(_read(response)["probability"][0] - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("values", "told"),
    [(np.nan, "finite"), (np.inf, "finite"), (1e300, "finite"), (-0.1, "0..1"), (65536, "65535")],
)
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.usefixtures("still_serving")
def test_values_outside_the_pixel_range_are_refused(client: TestClient, values: float, told: str, binary: bool):
    with np.errstate(over="ignore"):
        tensor, data = _input(np.full((1, 1, 2, 2), values), binary)
    if not binary:
        tensor["data"] = [values] * 4
    assert told in _error(_infer(client, (tensor, data)), 400)


def test_channels_that_the_net_does_not_take_are_refused(
    client: TestClient, serve: Callable[..., TestClient], stored_channels_path: Path, png: bytes
):
    assert "1 or 3, not 2" in _error(_infer(client, _input(np.ones((1, 2, 3, 3)))), 400)
    stored = serve(weights=stored_channels_path)
    assert "3, not 1" in _error(_infer(stored, _input(np.ones((1, 1, 3, 3))), path="/v2/models/three-channels"), 400)
    assert "3 channels" in _error(_infer(stored, _image(png), path="/v2/models/three-channels"), 400)


# --- Outputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [True, False])
def test_all_outputs_are_returned_if_none_is_requested(
    client: TestClient, segmenter: Segmenter, png: bytes, binary: bool
):
    response = _infer(client, _image(png), parameters={"binary_data_output": binary}, id="the id")
    outputs, picture = _read(response), decode_image(png)
    assert list(outputs) == ["mask", "probability", "mask_png"]
    assert np.array_equal(outputs["mask"][0, 0], segmenter.mask(picture))
    assert np.array_equal(outputs["probability"][0], segmenter.probabilities(picture))
    file = outputs["mask_png"][4:] if binary else base64.b64decode(outputs["mask_png"][0])
    assert np.array_equal(decode_image(file), segmenter.mask(picture))
    head = json.loads(response.content[: int(response.headers.get("inference-header-content-length", 10**9))])
    assert (head["model_name"], head["model_version"], head["id"]) == ("small-net", "1", "the id")
    assert response.headers["x-model"].startswith("small-net@")
    assert response.headers["server-timing"].startswith("decode;dur=")


def test_outputs_come_as_they_are_asked_for(client: TestClient, png: bytes):
    asked = [
        {"name": "probability"},
        {"name": "mask", "parameters": {"binary_data": False}},
    ]
    response = _infer(client, _image(png), outputs=asked, parameters={"binary_data_output": True})
    head = json.loads(response.content[: int(response.headers["inference-header-content-length"])])
    assert [(output["name"], "data" in output) for output in head["outputs"]] == [
        ("probability", False),
        ("mask", True),
    ]
    assert "id" not in head
    assert _read(response).keys() == {"probability", "mask"}


def test_a_net_of_several_classes_gives_indices_and_all_probabilities(
    serve: Callable[..., TestClient], classes_path: Path, png: bytes
):
    client = serve(weights=classes_path)
    outputs = _read(_infer(client, _image(png), path="/v2/models/three-classes"))
    assert outputs["probability"].shape == (1, 3, *SIZE)
    assert np.array_equal(outputs["mask"][0, 0], outputs["probability"][0].argmax(axis=0))


def test_outputs_of_a_net_that_downsamples_have_the_images_size(
    serve: Callable[..., TestClient], half_scale_path: Path, png: bytes
):
    client = serve(weights=half_scale_path)
    outputs = _read(_infer(client, _image(png), path="/v2/models/half-scale"))
    assert outputs["mask"].shape == outputs["probability"].shape == (1, 1, *SIZE)


@given(threshold=st.floats(0.001, 0.999))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_threshold_is_the_requests(client: TestClient, segmenter: Segmenter, png: bytes, threshold: float):
    outputs = _read(_infer(client, _image(png), parameters={"threshold": threshold}))
    assert np.array_equal(outputs["mask"][0, 0], segmenter.mask(decode_image(png), threshold))
    assert np.array_equal(outputs["mask"] == 255, outputs["probability"] >= np.float32(threshold))


def test_images_of_several_sizes_are_accepted_only_as_files(
    client: TestClient, segmenter: Segmenter, make_image: MakeImage, to_file: ToFile
):
    pictures = [make_image(20, 30), make_image(30, 20)]
    tensor = _image(*map(to_file, pictures))
    assert "several sizes" in _error(_infer(client, tensor), 400)
    files = _read(_infer(client, tensor, outputs=[{"name": "mask_png"}]))["mask_png"]
    for picture, file in zip(pictures, files, strict=True):
        assert np.array_equal(decode_image(base64.b64decode(file)), segmenter.mask(picture))


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bodies_may_be_compressed(client: TestClient, png: bytes, coding: str, compress: Callable[[bytes], bytes]):
    tensor, data = _image(png)
    text = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text)), "Content-Encoding": coding}
    sent = compress(text + data)
    response = client.post(f"{MODEL}/infer", content=sent, headers=headers | {"Accept-Encoding": coding})
    assert response.headers["content-encoding"] == coding
    plain = client.post(f"{MODEL}/infer", content=sent, headers=headers | {"Accept-Encoding": "gzip, deflate"})
    assert "content-encoding" not in plain.headers
    assert response.json() == plain.json()
    bomb = client.post(f"{MODEL}/infer", content=compress(bytes(400_001)), headers=headers)
    assert "400000" in _error(bomb, 413)
    for broken in (sent[:-1], sent + b"more", b"", text):
        _error(client.post(f"{MODEL}/infer", content=broken, headers=headers), 400)
    _error(client.post(f"{MODEL}/infer", content=sent, headers=headers | {"Content-Encoding": "br"}), 415)


# --- What is refused --------------------------------------------------------------------------------------------------


def _pixels(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1, 1, 2], "data": [0, 1]} | changes]}


def _files(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["aGVsbG8="]} | changes]}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "JSON"),
        (b"[" * 1000, "JSON"),
        (_pixels(data=[[]] * 2**16), "lists"),
        (_pixels(data=[{"": 0}] * 2**15), "objects and names"),
        (b"\xff", "JSON"),
        ([], "body"),
        ({"inputs": []}, "inputs"),
        ({"inputs": _pixels()["inputs"] * 2}, "inputs"),
        (_pixels(name="other"), "'image', 'input'"),
        (_pixels(datatype="FP64"), "FP32"),
        (_pixels(shape=[1, 2]), "shape"),
        (_pixels(shape=[1, 1, 0, 2]), "shape"),
        (_pixels(shape=[1, 1, -1, -2]), "shape"),
        (_pixels(shape=[1, 1, 1, 3]), "as many values"),
        (_pixels(shape=[1, 1, 10**30, 10**30]), "pixels"),
        (_pixels(shape=[5000, 1, 1, 1]), "4096"),
        (_pixels(data=None), "neither"),
        (_pixels(data={}), "neither"),
        (_pixels(data=[[0], [0, 1]]), "unevenly"),
        (_pixels(data=["0", "1"]), "numbers"),
        (_pixels(data=[0, None]), "numbers"),
        (_pixels(data=[0, 10**400]), "numbers"),
        (_pixels(data=[True, False]), "numbers"),
        (_pixels(parameters={"binary_data_size": 8}), "after the JSON"),
        (_pixels(parameters={"binary_data_size": -8}), "binary_data_size"),
        (_files(data=["aGVsbG8="]), "not an image"),
        (_files(data=["R0lGODlh"]), "GIF"),
        (_files(data=["no base64"]), "base64"),
        (_files(data=["ünsafe"]), "base64"),
        (_files(data=[1]), "base64"),
        (_files(data=[["aGVsbG8="]], shape=[1, 1]), "not an image"),
        (_files(data=[["aGVsbG8="], []]), "as many files"),
        (_files(data=[]), "as many files"),
        (_files(shape=[2]), "as many files"),
        (_files(shape=[1, 2]), "[N, 1]"),
        (_pixels() | {"parameters": {"threshold": 0}}, "threshold"),
        (_pixels() | {"parameters": {"threshold": 1}}, "threshold"),
        (_pixels() | {"parameters": {"threshold": "high"}}, "threshold"),
        (_pixels() | {"outputs": [{"name": "masks"}]}, "'mask_png'"),
        (_pixels() | {"outputs": [{"name": "mask", "parameters": {"classification": 1}}]}, "not supported"),
        (_pixels() | {"outputs": [{"name": "mask", "parameters": {"shared_memory_region": "r"}}]}, "not supported"),
        (_pixels() | {"id": 7}, "id"),
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.usefixtures("still_serving")
def test_a_bad_inference_request_is_refused_with_its_fault(client: TestClient, body: Any, told: str):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    status = 415 if told == "GIF" else 400
    assert told in _error(client.post(f"{MODEL}/infer", content=content), status)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x01\x00\x00\x00", b"\xff\xff\xff\xff", _bytes(b"", b""), _bytes(b"") + b"\x01\x00\x00\x00"],
)
def test_elements_that_do_not_fit_are_refused(client: TestClient, data: bytes):
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    _error(_infer(client, (tensor, data)), 400)


@given(length=st.one_of(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])), st.integers().map(str)))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_wrong_length_of_the_json_is_an_error_whatever_it_is(client: TestClient, png: bytes, length: str):
    response = _infer(client, _image(png), {"Inference-Header-Content-Length": length})
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        _error(response, 400)


@given(data=st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_body_is_answered_or_refused(client: TestClient, png: bytes, data: st.DataObject):
    tensor, binary = _image(png)
    text = json.dumps({"inputs": [tensor]}).encode()
    body = bytearray(text + binary)
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    headers = {"Inference-Header-Content-Length": str(len(text) + data.draw(st.integers(-2, 2)))}
    assert client.post(f"{MODEL}/infer", content=bytes(body), headers=headers).status_code in (200, 400, 415)


# --- Limits -----------------------------------------------------------------------------------------------------------


def test_more_pixels_than_are_allowed_in_all_are_refused(
    serve: Callable[..., TestClient], make_image: MakeImage, to_file: ToFile
):
    client, file = serve(max_pixels=700), to_file(make_image(20, 30))
    assert _infer(client, _image(file)).status_code == 200
    assert "1200 pixels, more than 700" in _error(_infer(client, _image(file, file)), 400)
    assert "more than 700" in _error(_infer(client, _input(np.ones((2, 1, 20, 30)))), 400)


def test_json_for_more_values_than_it_is_good_for_is_refused(
    client: TestClient, make_image: MakeImage, to_file: ToFile, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.open_inference.inference.MOST_JSON_VALUES", 1199)
    tensor = _image(to_file(make_image(20, 30)))
    assert "ask for binary data" in _error(_infer(client, tensor), 400)
    assert _infer(client, tensor, outputs=[{"name": "mask"}]).status_code == 200
    assert _infer(client, tensor, parameters={"binary_data_output": True}).status_code == 200


def test_more_json_than_is_read_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.open_inference.protocol.MOST_JSON_BYTES", 100)
    assert "binary data" in _error(_infer(client, _input(np.ones((1, 1, 10, 10)), binary=False)), 413)


def test_a_stack_is_refused_as_a_tensor_element(client: TestClient, make_image: MakeImage, to_file: ToFile):
    stack = to_file(make_image(8, 8), "TIFF", save_all=True, append_images=[Image.fromarray(make_image(8, 8))])
    assert "one page" in _error(_infer(client, _image(stack)), 400)


def test_admission_covers_inference_and_speaks_the_protocol(serve: Callable[..., TestClient], png: bytes):
    client = serve(api_keys="right", max_body_bytes=2000)
    response = _infer(client, _image(png))
    _error(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"
    key = {"X-API-Key": "right"}
    assert _infer(client, _image(png), key).status_code == 200
    assert "2000" in _error(_infer(client, _image(bytes(3000)), key), 413)
    assert client.get(MODEL).status_code == 200


def test_without_room_it_is_503_and_past_the_deadline_504(
    serve: Callable[..., TestClient], hold: Callable[[TestClient], Any], png: bytes
):
    client = serve(deadline_s=0.5, max_queue_pixels=1000)
    hold(client)
    assert "0.5 s" in _error(_infer(client, _image(png)), 504)
    # what is being computed still takes its room
    response = _infer(client, _image(png))
    _error(response, 503)
    assert int(response.headers["retry-after"]) > 0


def test_metrics_know_the_routes_and_not_the_names(client: TestClient, png: bytes):
    before = client.get("/metrics").text
    _infer(client, _image(png))
    client.get("/v2/health/live")
    for name in ("made", "up"):
        client.get(f"/v2/models/{name}")
        client.post(f"/v2/models/{name}/infer")
        client.get(f"/v2/{name}")
    text = client.get("/metrics").text
    assert 'route="/v2/models/{name}/infer",status="200"' in text
    assert 'route="/v2/models/{name}/infer",status="404"' in text
    assert 'route="/v2/models/{name}",status="404"' in text
    assert 'route="/v2/health/live",status="200"' in text
    assert "made" not in text
    counted = [line for line in text.splitlines() if line.startswith('segment_stage_seconds_count{stage="infer"}')]
    assert counted[0] not in before


def test_the_document_says_what_inference_refuses_with(client: TestClient):
    responses = client.get("/openapi.json").json()["paths"]["/v2/models/{name}/infer"]["post"]["responses"]
    assert responses.keys() >= {"200", "400", "401", "404", "413", "415", "503", "504"}
    assert responses["404"]["content"]["application/json"]["schema"]["required"] == ["error"]
