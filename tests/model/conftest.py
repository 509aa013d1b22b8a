"""What the tests of `model` share: small nets with real statistics, images with structure, files around them."""

import signal
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from model.engines.pytorch import TorchEngine
from model.inputs.preprocessing import Pixels, Preprocessing
from model.segmenter import Segmenter
from model.unet import UNet, UNetConfig
from model.weights_file import Description, Weights, save_weights
from tests.support.forked import Forked

PATIENCE_S = 300


def _interrupt(command: list[str], out: Path) -> str:
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = Forked(*command, stdout=stdout, stderr=stderr)
        last = time.monotonic() + PATIENCE_S
        while not list(out.glob("*_res.png")):
            assert process.poll() is None
            assert time.monotonic() < last
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE_S)
        stdout.seek(0)
        stderr.seek(0)
        said = [line for line in stderr if "RAY_BACKEND_LOG_LEVEL" not in line]  # Ray's own line
        assert (code, said) == (130, [])
        return stdout.read()


@pytest.fixture(scope="session")
def interrupt() -> Callable[..., str]:
    """`interrupt(command, out)`: stdout of `python -m COMMAND`, which gets Ctrl-C once a result is in `out`."""
    return _interrupt


@cache
def _random_state(seed: int, full_scale: float, config: UNetConfig) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        net = UNet(config).train()
        norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(std=0.3)
            norm.momentum = 1.0  # running statistics := those of the next batch
        sample = torch.rand(2, config.in_channels, 96, 96) * full_scale
        net(sample)
        logits = net.eval()(sample)
        net.outc.conv.weight.mul_(1.5 / logits.std())
        assert net.outc.conv.bias is not None
        net.outc.conv.bias.sub_(net(sample).mean(dim=(0, 2, 3)))
    return net.state_dict()


def _net(seed: int = 0, full_scale: float = 1.0, **settings: Any) -> UNet:
    """A net with random weights whose statistics fit inputs of 0..full_scale, and whose logits spread around 0."""
    config = UNetConfig(**({"width": 4} | settings))
    with torch.random.fork_rng():
        net = UNet(config).eval()
    net.load_state_dict(_random_state(seed, full_scale, config))
    return net


def _image(height: int, width: int, channels: int = 0, dtype: Any = np.uint8, seed: int = 0) -> Pixels:
    """Blobs and noise; H x W for no channels, else H x W x C."""
    random = np.random.default_rng(seed)
    planes = []
    for _ in range(max(1, channels)):
        blobs = cv2.resize(random.random((5, 7), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        planes.append(0.8 * blobs + 0.2 * random.random((height, width), np.float32))
    stacked = np.clip(np.stack(planes, axis=-1), 0, 1) * np.iinfo(dtype).max
    pixels: Pixels = np.rint(stacked).astype(dtype)
    return pixels if channels else pixels[:, :, 0]


def _describe(net: UNet, **fields: Any) -> Description:
    channels = {1: "grey", 3: "rgb"}.get(net.config.in_channels, "stored")
    preprocessing = fields.pop("preprocessing", {})
    return Description(
        name=fields.pop("name", "a-net"),
        architecture=net.config,
        preprocessing=Preprocessing(**({"channels": channels} | preprocessing)),
        **fields,
    )


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.default_generator.manual_seed(0)  # `torch.manual_seed` notes the stack for each device


@pytest.fixture
def make_net() -> Callable[..., UNet]:
    """`make_net(seed=0, full_scale=1.0, **UNetConfig fields)`; width 4 unless told."""
    return _net


@pytest.fixture
def make_image() -> Callable[..., Pixels]:
    """`make_image(height, width, channels=0, dtype=np.uint8, seed=0)`."""
    return _image


@pytest.fixture
def describe() -> Callable[..., Description]:
    """`describe(net, preprocessing={...}, **Description fields)`."""
    return _describe


@pytest.fixture
def make_segmenter() -> Callable[..., Segmenter]:
    """`make_segmenter(net, tile=1024, max_batch=8, tta=1, **Description fields)`: on the CPU in fp32."""

    def make(net: UNet, *, tile: int = 1024, max_batch: int = 8, tta: int = 1, **fields: Any) -> Segmenter:
        weights = Weights(_describe(net, **fields), "0" * 64, net.state_dict())
        engine = TorchEngine(weights.build_net(), "cpu", "fp32")
        return Segmenter(weights, engine, tile=tile, max_batch=max_batch, tta=tta)

    return make


@pytest.fixture
def weights_path(tmp_path: Path) -> Path:
    """A whole weights file of a small net."""
    net = _net()
    path = tmp_path / "net.safetensors"
    save_weights(
        path, net.state_dict(), _describe(net, threshold=0.4, provenance={"data": "none", "scores": {"dice": 0.5}})
    )
    return path
