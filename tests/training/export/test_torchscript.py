import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.weights_file import load_weights
from training.export import parity, torchscript

KINDS: dict[str, dict[str, Any]] = {
    "one class": {},
    "three classes": {"preprocessing": {"channels": "rgb"}, "in_channels": 3, "classes": 3, "upsampling": "transposed"},
    "half scale": {"downsampling": 2},
    "aligned corners": {"preprocessing": {"scaling": "raw"}, "upsampling": "bilinear_aligned", "conv_bias": True},
}

LOAD_ALONE = """
import sys, torch
net = torch.jit.load(sys.argv[1])
assert "model" not in sys.modules
torch.save(net(torch.load(sys.argv[2])), sys.argv[3])
"""


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_the_file_computes_what_the_net_does(save_net: Callable[..., Path], tmp_path: Path, settings: dict[str, Any]):
    weights = load_weights(save_net(tmp_path / "cells.safetensors", **settings))
    assert len(torchscript.write(weights, tmp_path / "cells.pt")) == 3
    run = parity.without_gradients(torchscript.load(tmp_path / "cells.pt"))
    classes = weights.description.architecture.classes
    for batch in parity.batches(weights.description):
        probabilities = run(batch)
        assert probabilities.shape == (len(batch), classes, *batch.shape[2:])
        assert 0.01 < probabilities.std() < 0.6
        if classes > 1:
            assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_an_exported_net_loads_with_only_torch(save_net: Callable[..., Path], tmp_path: Path):
    weights = load_weights(save_net(tmp_path / "cells.safetensors"))
    torchscript.write(weights, tmp_path / "cells.pt")
    image = torch.rand(2, 1, 20, 36)
    torch.save(image, tmp_path / "image")
    arguments = [str(tmp_path / name) for name in ("cells.pt", "image", "result")]
    subprocess.run([sys.executable, "-W", "ignore", "-c", LOAD_ALONE, *arguments], cwd=tmp_path, check=True)
    with torch.inference_mode():
        expected = weights.build_net()(image).sigmoid()
    assert torch.allclose(torch.load(tmp_path / "result"), expected, atol=1e-5)


def test_the_file_carries_the_description(save_net: Callable[..., Path], tmp_path: Path):
    weights = load_weights(save_net(tmp_path / "cells.safetensors"))
    torchscript.write(weights, tmp_path / "cells.pt")
    extra = {"description": ""}
    torch.jit.load(tmp_path / "cells.pt", _extra_files=extra)
    assert json.loads(extra["description"]) == weights.description.model_dump(mode="json")
