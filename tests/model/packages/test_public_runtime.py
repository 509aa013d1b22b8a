"""The same packages in the zoo's own runtime, bioimageio.core."""

import gc
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from model.images import encode_png
from model.segmenter import Segmenter
from tests.support.packages import describe, foreign_net, onnx, tensor_in, tensor_out, torchscript, write_package

pytestmark = pytest.mark.filterwarnings("ignore")  # bioimageio.core leaves files open, and TorchScript is deprecated


@pytest.fixture(scope="module")
def core() -> Iterator[Any]:
    import bioimageio.core
    import loguru

    loguru.logger.disable("bioimageio")
    gc.freeze()  # it collects garbage after each inference, and would search all that has been imported
    yield bioimageio.core
    gc.collect()


def _array(values):
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def _complete(path, image):
    """Adds what a package must have, but serving does not need."""
    with zipfile.ZipFile(path, "a") as package:
        package.writestr("README.md", "# A net")
        package.writestr("cover.png", encode_png(np.zeros((64, 64), np.uint8)))
        package.writestr("in.npy", _array(image[None, None]))
        package.writestr("out.npy", _array(np.zeros((1, 1, *image.shape), np.float32)))


REST: dict[str, Any] = {
    "documentation": "README.md",
    "covers": ["cover.png"],
    "test_inputs": ["in.npy"],
    "test_outputs": ["out.npy"],
    "timestamp": "2026-01-01T00:00:00",
    "tags": ["unet"],
}
RANGE = {"axes": "yx", "mode": "per_sample", "min_percentile": 1, "max_percentile": 99.8}

PACKAGES: dict[str, tuple[Any, ...]] = {
    "z-score, two channels, ONNX": (tensor_in(), tensor_out(2), {"outputs": 2, "norm": "instance"}, onnx),
    "percentiles, one size, TorchScript": (
        tensor_in(shape=[1, 1, 96, 96], preprocessing=[{"name": "scale_range", "kwargs": RANGE}]),
        tensor_out(shape=[1, 1, 96, 96]),
        {"norm": "batch"},
        torchscript,
    ),
    "fixed numbers, logits, TorchScript": (
        tensor_in(preprocessing=[{"name": "scale_linear", "kwargs": {"gain": 0.01, "offset": -1.0}}]),
        tensor_out(postprocessing=[{"name": "sigmoid"}]),
        {"last": "none"},
        torchscript,
    ),
}


@pytest.mark.parametrize("name", PACKAGES)
def test_probabilities_equal_those_of_bioimageio_core(core, tmp_path, make_image, name):
    taken, given, options, make = PACKAGES[name]
    image = make_image(96, 96)
    path = write_package(
        tmp_path / "package.zip", describe([taken], [given], **REST), **{make.__name__: make(foreign_net(**options))}
    )
    _complete(path, image)
    sample = core.predict(model=path, inputs={"input0": image[None, None]})
    expected = np.asarray(sample.members["output0"].data)[0, :1]
    assert np.abs(Segmenter.load(path).probabilities(image) - expected).max() < 1e-4
