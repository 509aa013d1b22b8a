"""Which engine runs which weights, where, and in which precision."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from model.engines.engine import Engine, EngineError
from model.engines.graph_weights import AnyWeights, GraphWeights
from model.engines.pytorch import TorchEngine, choose_device, choose_precision
from model.packages.packaged_file import Format
from model.packages.packaged_weights import PackagedWeights
from model.weights_file import BUNDLED, Weights

if TYPE_CHECKING:
    import openvino

ENGINES = ("auto", "torch", "openvino")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")

BUNDLED_NETS = (BUNDLED, BUNDLED.with_name("nuclei.safetensors"))
"""The weights files of the bundled nets, that of the default net first."""

NO_INT8 = "precision int8 takes weights that training.export --precision int8 has made"


@dataclass(frozen=True)
class Choice:
    """An engine that this machine and these weights have: nothing in it is "auto"."""

    engine: str
    device: str
    precision: str


def choose(weights: AnyWeights, engine: str = "auto", device: str = "auto", precision: str = "auto") -> Choice:
    """Resolves each "auto". Raises EngineError if the choice is not available.

    "auto" is OpenVINO on a CPU, where it is installed and takes the net, else torch.
    """
    if isinstance(weights, GraphWeights):
        return _choose_for_graph(weights.graph, engine, device, precision)
    if isinstance(weights, PackagedWeights) and precision != "int8":
        return _choose_for_package(weights, engine, device, precision)
    if precision == "int8":
        raise EngineError(NO_INT8)
    assert isinstance(weights, Weights)  # noqa: S101
    found = choose_device(device)
    aligned = weights.description.unet.upsampling == "bilinear_aligned"
    if engine == "openvino":
        _check_openvino(str(found))
        if aligned:  # such nets must be computed as the original does
            raise EngineError("the openvino engine takes no nets with aligned corners: the torch engine does")
    if engine == "openvino" or (engine == "auto" and _runs_openvino(device) and not aligned and precision != "fp16"):
        from model.engines import openvino

        return Choice("openvino", "cpu", openvino.choose_precision(precision))
    return Choice("torch", str(found), choose_precision(found, precision))


def make_engine(weights: AnyWeights, choice: Choice, threads: int = 0) -> Engine:
    """The engine of a choice. `threads`: OpenVINO's, 0 for one a core; torch has its own for the whole process.

    Raises EngineError, and WeightsError for a package.
    """
    if isinstance(weights, PackagedWeights):
        file_format: Format = "onnx" if choice.engine == "openvino" else "torchscript"
        return weights.make_engine(file_format, choice.device, choice.precision, threads)
    if isinstance(weights, Weights) and choice.engine == "torch":
        return TorchEngine(weights.build_net(), choice.device, choice.precision, weights.description.threshold)
    from model.engines.openvino import OpenVinoEngine, to_graph

    graph = weights.graph if isinstance(weights, GraphWeights) else to_graph(weights.build_net())
    return OpenVinoEngine(graph, choice.precision, threads)


def int8_of(path: Path) -> Path:
    """Returns the graph in 8 bits that is beside bundled weights."""
    return path.with_name(f"{path.stem}-int8.xml")


def bundled_weights(engine: str = "auto", device: str = "auto", precision: str = "auto") -> Path:
    """Returns the weights of the default bundled net that suit best, see `bundled_nets`. Raises EngineError."""
    return bundled_nets(engine, device, precision)[0]


def bundled_nets(engine: str = "auto", device: str = "auto", precision: str = "auto") -> list[Path]:
    """Returns the weights of each bundled net that suit best, those of the default net first.

    Weights in 8 bits suit best where OpenVINO runs them: they are as good and faster. Raises EngineError.
    """
    if engine == "torch" or precision not in ("auto", "int8") or not _runs_openvino(device):
        return list(BUNDLED_NETS)
    from model.engines.openvino import has_int8

    return [int8_of(path) if has_int8() or precision == "int8" else path for path in BUNDLED_NETS]


def _choose_for_graph(graph: "openvino.Model", engine: str, device: str, precision: str) -> Choice:
    if engine == "torch":
        raise EngineError("weights made for OpenVINO run only on the openvino engine")
    _check_openvino("cpu" if device == "auto" else str(choose_device(device)))
    from model.engines import openvino

    if not openvino.is_int8(graph):
        if precision == "int8":
            raise EngineError(NO_INT8)
        return Choice("openvino", "cpu", openvino.choose_precision(precision))
    if precision not in ("auto", "int8"):
        raise EngineError("weights in int8 run only in precision int8")
    return Choice("openvino", "cpu", "int8")


def _choose_for_package(weights: PackagedWeights, engine: str, device: str, precision: str) -> Choice:
    """OpenVINO for ONNX on a CPU, else torch for TorchScript. "auto" is fp32, in which packages are tested."""
    runs_onnx = "onnx" in weights.files and _runs_openvino(device)
    if engine != "torch" and runs_onnx:
        from model.engines import openvino

        return Choice("openvino", "cpu", openvino.choose_precision("fp32" if precision == "auto" else precision))
    if engine == "openvino":
        _check_openvino(str(choose_device(device)))
        raise EngineError("the openvino engine runs only the ONNX of packages, and this package has none")
    if "torchscript" not in weights.files:
        raise EngineError("this package has only ONNX, which runs only on the openvino engine, on the cpu")
    if precision not in ("auto", "fp32"):
        raise EngineError(f"precision {precision!r}: the TorchScript of packages runs in fp32")
    return Choice("torch", str(choose_device(device)), "fp32")


def _check_openvino(device: str) -> None:
    if find_spec("openvino") is None:
        raise EngineError("the openvino engine needs the package openvino, which is not installed")
    if device != "cpu":
        raise EngineError(f"the openvino engine runs only on the cpu, not on {device}")


def _runs_openvino(device: str) -> bool:
    return find_spec("openvino") is not None and choose_device(device).type == "cpu"
