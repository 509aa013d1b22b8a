import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx as onnx_package
import pytest

from model.weights_file import Weights, load_weights
from training.export import onnx


@pytest.fixture(scope="module")
def exported(
    save_net: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Weights, Path, list[str]]:
    """A net of the hardest kind, its file and what the check found; packages hold plainer ones."""
    folder = tmp_path_factory.mktemp("onnx")
    preprocessing = {"channels": "rgb", "scaling": "raw"}
    config = {"in_channels": 3, "classes": 3, "depth": 1, "upsampling": "bilinear_aligned"}
    path = save_net(folder / "cells.safetensors", preprocessing, **config)
    return load_weights(path), folder / "cells.onnx", onnx.write(load_weights(path), folder / "cells.onnx")


def test_the_file_is_sound_and_free_in_number_height_and_width(exported: tuple[Weights, Path, list[str]]):
    weights, path, lines = exported
    net = onnx_package.load(path)
    onnx_package.checker.check_model(net, full_check=True)
    config = weights.description.architecture
    for port, name, channels in [
        (net.graph.input[0], "image", config.in_channels),
        (net.graph.output[0], "probabilities", config.classes),
    ]:
        images, of, *sizes = port.type.tensor_type.shape.dim
        assert (port.name, images.dim_param, of.dim_value) == (name, "images", channels)
        assert [size.dim_param for size in sizes] == ["2*rows", "2*columns"]
    assert len(lines) == 3


def test_any_size_on_the_grid_gives_probabilities(exported: tuple[Weights, Path, list[str]]):
    weights, path, _ = exported
    config, session = weights.description.architecture, onnx.open_session(path.read_bytes())
    random = np.random.default_rng(0)
    for shape in [(1, 2, 2), (4, 18, 8), (2, 82, 134)]:
        batch = random.random((shape[0], config.in_channels, *shape[1:]), np.float32)
        probabilities = session.run(["probabilities"], {"image": batch})[0]
        assert probabilities.shape == (shape[0], config.classes, *shape[1:])
        assert 0 <= probabilities.min() < probabilities.max() <= 1
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_the_file_carries_the_description(exported: tuple[Weights, Path, list[str]]):
    weights, path, _ = exported
    stored = {entry.key: entry.value for entry in onnx_package.load(path).metadata_props}
    assert json.loads(stored["description"]) == weights.description.model_dump(mode="json")
