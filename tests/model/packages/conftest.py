"""Packages of small nets that are not this project's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.errors import WeightsError
from model.packages.packaged_weights import load_package
from tests.support.packages import ForeignNet, describe, foreign_net, onnx, torchscript, write_package


@pytest.fixture(scope="session")
def net() -> ForeignNet:
    """A net of one channel in and out that gives probabilities."""
    return foreign_net()


@pytest.fixture(scope="session")
def onnx_file(net: ForeignNet) -> bytes:
    return onnx(net)


@pytest.fixture(scope="session")
def script_file(net: ForeignNet) -> bytes:
    return torchscript(net)


@pytest.fixture
def packed(tmp_path: Path, script_file: bytes) -> Callable[..., Path]:
    """`packed(inputs=[...], outputs=[...], **fields of the description)`: a package with the TorchScript of `net`."""

    def pack(**description: Any) -> Path:
        return write_package(tmp_path / "package.zip", describe(**description), torchscript=script_file)

    return pack


@pytest.fixture
def refused(packed: Callable[..., Path]) -> Callable[..., str]:
    """`refused(**as packed)`: the one line in which the package is refused, without the file's name."""

    def refuse(**description: Any) -> str:
        path = packed(**description)
        with pytest.raises(WeightsError) as caught:
            load_package(path)
        message = str(caught.value)
        assert message.startswith(f"weights {path}: ")
        assert "\n" not in message
        return message.removeprefix(f"weights {path}: ")

    return refuse
