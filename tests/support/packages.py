"""BioImage.IO packages of small nets, described as other people's are."""

import hashlib
import io
import math
import warnings
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional as F

from model.packages.packaged_net import PackagedNet


class ForeignNet(nn.Module):
    """A small U-Net whose modules are none of this project's: depth 2, its output as large as its input.

    `norm`: "instance" sees the whole image. `upsampling`: "aligned" depends on the position. `last`: "sigmoid",
    "softmax" or "none".
    """

    def __init__(
        self,
        channels: int = 1,
        outputs: int = 1,
        norm: str = "none",
        upsampling: str = "nearest",
        last: str = "sigmoid",
    ) -> None:
        super().__init__()
        self.upsampling, self.last = upsampling, last
        self.first = self._block(channels, 4, norm)
        self.second = self._block(4, 6, norm)
        self.deepest = self._block(6, 8, norm)
        self.up = self._block(14, 6, norm)
        self.top = self._block(10, 4, norm)
        self.out = nn.Conv2d(4, outputs, 1)

    @staticmethod
    def _block(d_in: int, d_out: int, norm: str) -> nn.Module:
        norms = {"none": nn.Identity(), "instance": nn.InstanceNorm2d(d_out), "batch": nn.BatchNorm2d(d_out)}
        return nn.Sequential(nn.Conv2d(d_in, d_out, 3, padding=1), norms[norm], nn.LeakyReLU(0.1))

    def _upsampled(self, x: Tensor) -> Tensor:
        if self.upsampling == "nearest":
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=self.upsampling == "aligned")

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(F.max_pool2d(first, 2))
        deepest = self.deepest(F.max_pool2d(second, 2))
        up = self.up(torch.cat((self._upsampled(deepest), second), dim=1))
        logits: Tensor = self.out(self.top(torch.cat((self._upsampled(up), first), dim=1)))
        if self.last == "softmax":
            return logits.softmax(dim=1)
        return logits.sigmoid() if self.last == "sigmoid" else logits


class InOtherAxes(nn.Module):
    """A net whose input and output have their axes in another order than b, c, y, x."""

    def __init__(self, net: nn.Module, axes: str) -> None:
        super().__init__()
        self.net = net
        self.to_net, self.from_net = [axes.index(axis) for axis in "bcyx"], ["bcyx".index(axis) for axis in axes]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x.permute(self.to_net)).permute(self.from_net)
        return out


def described_net(smallest: int = 64, step: int = 16, grid: int = 16) -> PackagedNet:
    """Returns the description of `foreign_net`."""
    return PackagedNet(
        in_channels=1,
        classes=1,
        outputs=1,
        output=None,
        activation="none",
        input_axes="bcyx",
        output_axes="bcyx",
        smallest=smallest,
        step=step,
        grid=grid,
    )


def foreign_net(seed: int = 0, scale: float = 1.0, **options: Any) -> ForeignNet:
    """A net with random weights whose output spreads over 0..1 for inputs of mean 0 and deviation `scale`."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        net = ForeignNet(**options).eval()
        last, net.last = net.last, "none"
        logits = net(scale * torch.randn(1, net.first[0].in_channels, 64, 64))  # type: ignore[index]
        assert net.out.bias is not None
        net.out.weight /= logits.std()
        net.out.bias.copy_((net.out.bias - logits.mean()) / logits.std())
        net.last = last
        return net


def torchscript(net: nn.Module, shape: tuple[int, ...] = (1, 1, 64, 64)) -> bytes:
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        traced = torch.jit.trace(net, torch.rand(shape), check_trace=False)
        out = io.BytesIO()
        torch.jit.save(traced, out)
    return out.getvalue()


def onnx(net: nn.Module, shape: tuple[int, ...] = (1, 1, 64, 64), axes: str = "bcyx") -> bytes:
    """An ONNX file by torch's older exporter, which most packages were made with; all sides are free."""
    free = {axes.index(axis): axis for axis in "byx"}
    with TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"), torch.no_grad():
        path = Path(folder) / "net.onnx"
        torch.onnx.export(
            net,
            (torch.rand(shape),),
            path,
            dynamo=False,
            input_names=["input0"],
            output_names=["output0"],
            dynamic_axes={"input0": free, "output0": free},
        )
        return path.read_bytes()


def describe(inputs: Any = None, outputs: Any = None, version: str = "0.4.9", **fields: Any) -> dict[str, Any]:
    """A description of format 0.4, of one channel in and out if nothing else is given."""
    return {
        "type": "model",
        "format_version": version,
        "name": "Nuclei of others",
        "description": "Segments nuclei.",
        "license": "CC-BY-4.0",
        "authors": [{"name": "Ada L."}],
        "cite": [{"text": "data", "doi": "10.1234/abc"}],
        "inputs": inputs or [tensor_in()],
        "outputs": outputs or [tensor_out()],
        "config": {"bioimageio": {"nickname": "quiet-otter"}},
    } | fields


def tensor_in(**fields: Any) -> dict[str, Any]:
    """The input of most of the collection's nets: one channel, z-scored, sides of 16 n from 64 up."""
    return {
        "name": "input0",
        "axes": "bcyx",
        "data_type": "uint8",
        "data_range": [0.0, 255.0],
        "shape": {"min": [1, 1, 64, 64], "step": [0, 0, 16, 16]},
        "preprocessing": [{"name": "zero_mean_unit_variance", "kwargs": {"axes": "cyx", "mode": "per_sample"}}],
    } | fields


def tensor_out(channels: float = 1, **fields: Any) -> dict[str, Any]:
    """The output that belongs to it."""
    return {
        "name": "output0",
        "axes": "bcyx",
        "data_type": "float32",
        "data_range": [-math.inf, math.inf],
        "halo": [0, 0, 16, 16],
        "shape": {
            "offset": [0.0, 0.0, 0.0, 0.0],
            "reference_tensor": "input0",
            "scale": [1.0, float(channels), 1.0, 1.0],
        },
    } | fields


def write_package(path: Path, description: dict[str, Any], **files: bytes) -> Path:
    """Writes a package with weights of these formats, "onnx" or "torchscript"."""
    weights = {
        name: {"source": f"weights.{name}", "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    }
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("rdf.yaml", yaml.safe_dump({"weights": weights} | description))
        for name, data in files.items():
            package.writestr(f"weights.{name}", data)
    return path
