"""Small weights files, of random nets whose probabilities differ from pixel to pixel."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from model.inputs.preprocessing import Preprocessing
from model.unet import UNet, UNetConfig
from model.weights_file import Description, save_weights


def _save_net(path: Path, preprocessing: dict[str, Any] | None = None, **config: Any) -> Path:
    described = Preprocessing(**(preprocessing or {"normalisation": "zscore"}))
    with torch.random.fork_rng(), torch.no_grad():
        torch.default_generator.manual_seed(0)
        net = UNet(UNetConfig(**({"width": 4, "depth": 2} | config))).train()
        sample = torch.rand(2, net.config.in_channels, 64, 64) * (255 if described.scaling == "raw" else 1)
        for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.momentum = 1.0  # running statistics := those of the next batch
        net(sample)
        net.outc.conv.weight /= net.eval()(sample).std()
    classes = net.config.classes
    labels = {0: "gap", 255: "cell"} if classes == 1 else dict(enumerate(["gap", "cell", "core"]))
    description = Description(
        name=path.stem, architecture=net.config, preprocessing=described, labels=labels, threshold=0.4
    )
    save_weights(path, net.state_dict(), description)
    return path


@pytest.fixture(scope="session")
def save_net() -> Callable[..., Path]:
    """`save_net(path, preprocessing={...}, **UNetConfig fields)`: width 4 and depth 2 unless told; threshold 0.4."""
    return _save_net
