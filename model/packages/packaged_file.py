"""The file of a packaged net, in one of the formats that are read.

Shape letters: C channels, K channels of the output, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from model.engines.engine import Array, Engine
from model.engines.scripted import ScriptEngine, load_script
from model.errors import UserError
from model.packages.packaged_net import PackagedNet

Format: TypeAlias = Literal["onnx", "torchscript"]
FORMATS: tuple[Format, ...] = ("onnx", "torchscript")
"""The formats that are read, the preferred one first: ONNX holds no program, and OpenVINO is the fastest on a CPU."""

Run: TypeAlias = Callable[[Array], Array]
"""1 x C x H x W float32 -> 1 x K x H x W float32, of sides that the net takes."""


@dataclass(frozen=True)
class PackagedFile:
    """The bytes of a net; `external`: name and bytes of the file with the tensors of an ONNX file.

    Methods raise UserError if torch or OpenVINO does not take the net.
    """

    file_format: Format
    data: bytes
    external: tuple[str, bytes] | None = None

    def make_engine(self, net: PackagedNet, device: str, precision: str, threads: int) -> Engine:
        """The engine of the net's own values."""
        if self.file_format == "torchscript":
            return ScriptEngine(load_script(self.data, device), net, device)
        from model.engines.onnx_graph import read_onnx
        from model.engines.openvino import OpenVinoEngine

        try:
            graph = read_onnx(self.data, net, self.external)
            return OpenVinoEngine(graph, precision, threads, crops_decoder=False)
        except (RuntimeError, OSError) as error:
            raise UserError("OpenVINO does not take the net") from error

    def runs(self, net: PackagedNet) -> tuple[Run, Run | None]:
        """The net in fp32, and the net so that it passes on NaN, see `measure_reach`; None if it is not known to."""
        if self.file_format == "torchscript":
            run = ScriptEngine(load_script(self.data), net).run
            return run, run  # torch's operations pass it on
        from model.engines.onnx_graph import compiled, passing_graph, read_onnx

        try:
            graph = read_onnx(self.data, net, self.external)
            passing = passing_graph(graph)
            return compiled(graph), passing and compiled(passing)
        except (RuntimeError, OSError) as error:
            raise UserError("OpenVINO does not take the net") from error
