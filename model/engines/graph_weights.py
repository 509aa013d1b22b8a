"""OpenVINO graphs as weights: `training.export` writes them, and only the openvino engine runs them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from model.packages.package_zip import PackageZip
from model.packages.packaged_weights import PackagedWeights, load_package
from model.weights_file import (
    BUNDLED,
    METADATA_KEY,
    Weights,
    WeightsError,
    WeightsInfo,
    load_weights,
    read_bytes,
    read_description,
)

if TYPE_CHECKING:
    import openvino


@dataclass(frozen=True)
class GraphWeights(WeightsInfo):
    """An exported graph, N x C x H x W -> probabilities, in 8 bits or not; it has no tensors to train."""

    graph: "openvino.Model"


AnyWeights: TypeAlias = Weights | GraphWeights | PackagedWeights
"""What an engine can run."""


def load_any(path: Path = BUNDLED) -> AnyWeights:
    """Reads a weights file, a graph if the suffix is .xml, or a package if it is .zip. Raises WeightsError."""
    if path.suffix == ".xml":
        return load_graph(path)
    return load_package(path) if path.suffix == ".zip" and not _is_own(path) else load_weights(path)


def _is_own(path: Path) -> bool:
    with PackageZip.open(path) as package:
        return package.is_own


def load_graph(path: Path) -> GraphWeights:
    """Reads and checks an OpenVINO graph (.xml) and the .bin beside it. Raises WeightsError."""
    xml, weights = read_bytes(path), read_bytes(path.with_suffix(".bin"))
    try:
        from model.engines.openvino import broken_constants, read_graph
    except ImportError as error:
        raise WeightsError(f"weights {path}: made for OpenVINO, and the package openvino is not installed") from error
    try:
        graph = read_graph(xml, weights)
        shapes = [port.get_partial_shape()[1].get_length() for port in (graph.inputs[0], graph.outputs[0])]
        broken = broken_constants(graph)
    except RuntimeError as error:
        raise WeightsError(f"weights {path}: broken or truncated, or not an OpenVINO graph of a net") from error
    if not graph.has_rt_info(METADATA_KEY):
        raise WeightsError(f"weights {path}: an OpenVINO graph without a description; training.export writes one")
    description = read_description(path, graph.get_rt_info(METADATA_KEY).astype(str))
    if shapes != [description.architecture.in_channels, description.architecture.classes]:
        raise WeightsError(f"weights {path}: the graph does not fit the described net")
    if broken:
        raise WeightsError(f"weights {path}: {broken[0]} holds values that are not finite")
    return GraphWeights(description, hashlib.sha256(xml + weights).hexdigest(), graph)
