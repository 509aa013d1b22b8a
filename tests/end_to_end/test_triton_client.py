"""The public client of the Open Inference Protocol, sync and async, against a real server."""

import asyncio
import base64
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from PIL import Image
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from model.inputs.preprocessing import Pixels
from model.segmenter import Segmenter
from tests.end_to_end.conftest import TILE
from tests.end_to_end.http import HTTP

NAME = "small-net"

pytestmark = pytest.mark.usefixtures("still_serving")


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.port}", network_timeout=60.0) as connected:
        yield connected


@pytest.fixture
def infer(request: pytest.FixtureRequest, server: Any, client: Any) -> Callable[..., Any]:
    """`infer(input, **options)` by the client that the parameter names: sync, async_infer or aio."""

    async def by_aio(**options: Any) -> Any:
        async with tritonclient.http.aio.InferenceServerClient(f"127.0.0.1:{server.port}") as connected:
            return await connected.infer(**options)

    def run(tensor: Any, **options: Any) -> Any:
        options = {"model_name": NAME, "inputs": [tensor]} | options
        if request.param == "aio":
            return asyncio.run(by_aio(**options))
        return client.infer(**options) if request.param == "sync" else client.async_infer(**options).get_result()

    return run


both = pytest.mark.parametrize("infer", ["sync", "aio"], indirect=True)


def _tensor(name: str, datatype: str, values: Any, binary: bool = True) -> Any:
    tensor = InferInput(name, list(values.shape), datatype)
    return tensor.set_data_from_numpy(values, binary_data=binary)


def _image(data: bytes, binary: bool = True) -> Any:
    element = data if binary else base64.b64encode(data)
    return _tensor("image", "BYTES", np.array([element], object), binary)


def _input(pixels: Any, full: float = 255.0, binary: bool = True) -> Any:
    return _tensor("input", "FP32", np.float32(pixels[None, None]) / np.float32(full), binary)


@pytest.fixture(scope="module")
def segmented(server: Any, png: bytes) -> Pixels:
    """The mask that `/segment` gives."""
    answer = HTTP.post(f"{server.url}/segment", files={"file": png})
    mask: Pixels = np.array(Image.open(io.BytesIO(answer.content)))
    assert len(np.unique(mask)) == 2
    return mask


@pytest.mark.parametrize("infer", ["sync", "async_infer", "aio"], indirect=True)
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("binary_in", [True, False])
def test_masks_are_those_of_segment(
    infer: Callable[..., Any], segmented: Pixels, pixels: Pixels, png: bytes, binary_in: bool, binary_out: bool
):
    outputs = [InferRequestedOutput("mask", binary_data=binary_out)]
    # 0..1 as text would be larger than this server takes
    for tensor in (_image(png, binary_in), _input(pixels, 1.0, binary_in), _input(pixels, 255.0)):
        answer = infer(tensor, outputs=outputs, request_id="seven")
        assert np.array_equal(answer.as_numpy("mask"), segmented[None, None])
        assert answer.get_response()["id"] == "seven"
        assert answer.as_numpy("probability") is None


@both
def test_without_outputs_all_come_in_binary(
    infer: Callable[..., Any], segmented: Pixels, segmenter: Segmenter, pixels: Pixels, png: bytes
):
    answer = infer(_image(png))
    assert np.array_equal(answer.as_numpy("mask"), segmented[None, None])
    assert np.abs(answer.as_numpy("probability")[0] - segmenter.probabilities(pixels)).max() < 1e-5
    with Image.open(io.BytesIO(answer.as_numpy("mask_png")[0])) as picture:
        assert np.array_equal(np.array(picture), segmented)
    assert all("binary_data_size" in output["parameters"] for output in answer.get_response()["outputs"])


@both
@pytest.mark.parametrize("sent", [None, "gzip", "deflate"])
@pytest.mark.parametrize("received", [None, "gzip", "deflate"])
def test_bodies_may_be_compressed(
    infer: Callable[..., Any], segmented: Pixels, png: bytes, sent: str | None, received: str | None
):
    answer = infer(_image(png), request_compression_algorithm=sent, response_compression_algorithm=received)
    assert np.array_equal(answer.as_numpy("mask"), segmented[None, None])


@both
def test_the_threshold_is_a_parameter(infer: Callable[..., Any], segmenter: Segmenter, pixels: Pixels, png: bytes):
    answer = infer(_image(png), parameters={"threshold": 0.7})
    assert np.array_equal(answer.as_numpy("mask")[0, 0], segmenter.mask(pixels, 0.7))


def test_the_client_learns_what_is_there(client: Any):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, "1")
    assert not client.is_model_ready(NAME, "2")
    assert not client.is_model_ready("other")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata(NAME) == client.get_model_metadata(NAME, "1")
    assert client.get_model_config(NAME)["max_batch_size"] == 0


@both
@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        ({"model_name": "other"}, "404", "no such model"),
        ({"model_version": "2"}, "404", "no such model"),
        ({"parameters": {"threshold": 2}}, "400", "threshold"),
        ({"outputs": [InferRequestedOutput("other")]}, "400", "mask_png"),
        ({"inputs": [_image(b"no image")]}, "400", "not an image"),
        ({"inputs": [_input(np.full((1, 1), np.nan))]}, "400", "finite"),
        ({"inputs": [_input(np.full((1, 1), np.nan), binary=False)]}, "400", "finite"),
        ({"inputs": [_image(bytes(200_001))]}, "413", "200000 bytes"),
        ({"inputs": [_image(bytes(200_001))], "request_compression_algorithm": "gzip"}, "413", "200000 bytes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else value,  # not its objects: their addresses change
)
def test_errors_reach_the_client(
    infer: Callable[..., Any], png: bytes, options: dict[str, Any], status: str, told: str
):
    with pytest.raises(InferenceServerException) as caught:
        infer(_image(png), **options)
    assert caught.value.status() == status
    assert told in caught.value.message()


def test_calls_that_are_not_there_are_errors(client: Any):
    for call in (client.get_inference_statistics, client.get_log_settings):
        with pytest.raises(InferenceServerException) as caught:
            call()
        assert caught.value.status() == "404"


def test_the_client_lists_and_calls_all_nets(
    serve: Callable[..., Any], weights_path: Path, classes_path: Path, pixels: Pixels, tmp_path: Path
):
    shutil.copy(weights_path, tmp_path)  # the other net is there
    served = serve(weights=tmp_path)
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{served.port}", network_timeout=60.0) as connected:
        listed = connected.get_model_repository_index()
        assert {model["name"] for model in listed} == {NAME, classes_path.stem}
        for path in (weights_path, classes_path):
            assert connected.is_model_ready(path.stem)
            answer = connected.infer(path.stem, [_input(pixels)], outputs=[InferRequestedOutput("mask")])
            expected = Segmenter.load(path, device="cpu", precision="fp32", tile=TILE).mask(
                (pixels / 255).astype(np.float32)
            )
            assert np.array_equal(answer.as_numpy("mask")[0, 0], expected)
