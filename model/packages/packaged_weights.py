"""The net of a BioImage.IO package, as weights that only run."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from model.engines.engine import Engine, EngineError
from model.engines.packaged import PackagedEngine
from model.errors import UserError, WeightsError
from model.inputs.card import Card
from model.inputs.preprocessing import Preprocessing
from model.packages.layouts import are_colours, channel_names, has_meaning, read_input, read_output
from model.packages.package_zip import PackageZip
from model.packages.packaged_file import FORMATS, Format, PackagedFile
from model.packages.packaged_net import PackagedNet
from model.packages.processing import Finish, read_finish, read_preprocessing
from model.packages.rdf import Rdf, read_rdf
from model.packages.trial import try_net
from model.weights_file import Description, WeightsInfo

# Sides of windows start at multiples of this number where a package does not describe the steps of its sizes.
LARGEST_STRIDE = 32


@dataclass(frozen=True)
class PackagedWeights(WeightsInfo):
    """The net of a package in its formats; it has no tensors to train."""

    net: PackagedNet
    files: Mapping[Format, PackagedFile]

    def make_engine(self, file_format: Format, device: str, precision: str, threads: int = 0) -> Engine:
        """The engine of a format. Raises EngineError, and WeightsError if torch or OpenVINO does not take the net."""
        try:
            inner = self.files[file_format].make_engine(self.net, device, precision, threads)
        except EngineError:
            raise
        except UserError as error:
            raise WeightsError(f"weights {self.description.name}: weights.{file_format}: {error}") from error
        return PackagedEngine(inner, self.net, self.description.threshold)


def load_package(path: Path) -> PackagedWeights:
    """Reads and checks a package. Raises WeightsError, in one line that names the file and the field."""
    with PackageZip.open(path) as package:
        try:
            rdf = read_rdf(package.description())
            net, preprocessing, finish = _read_net(rdf)
            files = _read_files(package, rdf)
            net = try_net(rdf, net, preprocessing, next(iter(files.values())))
            description = _describe(rdf, net, preprocessing, finish, list(files))
        except WeightsError:
            raise
        except UserError as error:
            raise WeightsError(f"weights {path}: {error}") from error
        return PackagedWeights(description, package.sha256, net, files)


def _read_files(package: PackageZip, rdf: Rdf) -> dict[Format, PackagedFile]:
    """The files of all formats that are read here. Raises UserError if there are none."""
    usable: list[Format] = [one for one in FORMATS if one != "onnx" or find_spec("openvino")]
    found: dict[Format, PackagedFile] = {}
    for file_format in usable:
        source = rdf.source(file_format)
        if source:
            field = f"weights.{file_format}.source"
            tensors = source.external_data
            external = (tensors.source, package.source(field, tensors.source, tensors.sha256)) if tensors else None
            data = package.source(field, source.source, source.sha256)
            found[file_format] = PackagedFile(file_format, data, external)
    if not found:
        accepted = " or ".join(usable)
        raise UserError(
            f"weights: {', '.join(rdf.weights)}; accepted: {accepted}; a state dict needs the code of its net, "
            "which the service does not run"
        )
    return found


def _read_net(rdf: Rdf) -> tuple[PackagedNet, Preprocessing, Finish]:
    """Reads the net from the description, as if all channels of the output were classes. Raises UserError."""
    taken = read_input(rdf)
    axes, count = read_output(rdf, taken)
    finish = read_finish(rdf.outputs[0], count)
    net = PackagedNet(
        in_channels=taken.channels,
        classes=count,
        outputs=count,
        output=None,
        activation=finish.activation,
        input_axes=taken.axes,
        output_axes=axes,
        smallest=taken.smallest,
        step=taken.step,
        grid=taken.step or math.gcd(taken.smallest, LARGEST_STRIDE),
    )
    colours: Literal["rgb", "stored"] = "rgb" if are_colours(taken.names) else "stored"
    return net, read_preprocessing(rdf.inputs[0], "grey" if taken.channels == 1 else colours, taken.channels), finish


def _describe(
    rdf: Rdf, net: PackagedNet, preprocessing: Preprocessing, finish: Finish, formats: list[Format]
) -> Description:
    names = channel_names(rdf.outputs[0], net.outputs)
    if net.classes > 1:
        labels = dict(enumerate(names))
    else:
        served = names[net.output or 0]
        labels = {0: "background", 255: served if has_meaning(served) else "foreground"}
    return Description(
        name=_label(rdf),
        architecture=net,
        preprocessing=preprocessing,
        threshold=finish.threshold or 0.5,
        labels=labels,
        card=Card(segments=_line(rdf.description)),
        provenance={"package": _package(rdf, names, net, formats)},
    )


def _line(text: str) -> str:
    """The start of a text as one printable line."""
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())[:300]


def _label(rdf: Rdf) -> str:
    """The nickname, or the id or name, as a name of weights may be."""
    name = rdf.nickname or (rdf.id if rdf.id and "/" not in rdf.id else rdf.name)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:64] or "package"


def _package(rdf: Rdf, names: tuple[str, ...], net: PackagedNet, formats: list[Format]) -> dict[str, JsonValue]:
    """Returns name, origin and licence of the package, for people to read."""
    said: dict[str, JsonValue] = {
        "name": rdf.name,
        "id": rdf.id,
        "version": rdf.version,
        "format_version": rdf.format_version,
        "description": rdf.description,
        "authors": rdf.authors,
        "cite": rdf.cite,
        "license": rdf.license,
        "weights": list(formats),
        "output_channels": list(names),
        "served_channel": None if net.output is None else names[net.output],
    }
    return {key: value for key, value in said.items() if value is not None}
