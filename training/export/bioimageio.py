"""Packages for the BioImage Model Zoo and the programs that read its format: state dict, TorchScript and ONNX.

Shape letters: C channels, K classes, S side.
"""

import inspect
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import loguru
import numpy as np
import onnx as onnx_package
import torch
from bioimageio.core import test_model
from bioimageio.spec import save_bioimageio_package
from bioimageio.spec.model import v0_5 as spec
from pydantic import ValidationError

from model import unet
from model.engines.pytorch import TorchEngine
from model.errors import UserError
from model.images.encoding import encode_png
from model.inputs.preprocessing import FULL_SCALE, Preprocessing, Values
from model.packages.package_zip import PACKAGED
from model.segmenter import Segmenter
from model.weights_file import Weights, read_bytes
from training.data.image_reader import ImageReader
from training.export import documentation, onnx, sample, torchscript
from training.export.parity import ParityError

IMAGE, PROBABILITIES = spec.TensorId(onnx.INPUT), spec.TensorId(onnx.OUTPUT)
SPACE = (spec.AxisId("y"), spec.AxisId("x"))

MOST_TEXT = 1024  # characters, of the format's description


@dataclass(frozen=True)
class PackageInfo:
    """The parts of a package's description that weights lack. `description`: "" to compose one.

    `channel` chooses one of a sample with several; "" for the channel of the training, or the first.
    """

    authors: tuple[str, ...] = ("unet-segmentation-service",)
    description: str = ""
    license: str = "Apache-2.0"
    sample: Path | None = None
    channel: str = ""


def write(weights: Weights, source: Path, path: Path, info: PackageInfo) -> list[str]:
    """The package, with the file `source` that the weights were read from in it; returns what the checks found.

    Raises ParityError, ImageError, ValueError, WeightsError, OSError.
    """
    loguru.logger.disable("bioimageio")  # what it has to say comes back in its summary
    _check_info(info)
    reader = ImageReader.suited_to(weights.description, info.channel)
    with TemporaryDirectory() as name:
        folder = Path(name)
        image = sample.choose(weights.description, info.sample, reader)
        found = _write_nets(folder, weights)
        (folder / PACKAGED).write_bytes(read_bytes(source))
        _write_sample(folder, weights, image)
        text = info.description or documentation.summary(weights)
        (folder / "README.md").write_text(documentation.markdown(weights, text, info.license))
        save_bioimageio_package(_describe(folder, weights, info, text), output_path=path)
    return [*reader.notes(), *found, *check(path)]


def check(path: Path) -> list[str]:
    """The zoo's own test of a package, of each kind of weights in it. Raises ParityError."""
    with warnings.catch_warnings(action="ignore"):  # of TorchScript, which is deprecated, and of files it leaves open
        summary = test_model(path)
    failed = [f"{detail.name}: {error.msg}" for detail in summary.details for error in detail.errors]
    if summary.status != "passed":
        raise ParityError("\n  ".join([f"bioimageio.core's test_model: {summary.status}", *failed]))
    return [f"bioimageio.core's test_model: {summary.status}, {len(summary.details)} checks"]


def _check_info(info: PackageInfo) -> None:
    """Says what the format does not take before any work is done. Raises ValueError."""
    if len(info.description) > MOST_TEXT:
        raise UserError(f"--description: {MOST_TEXT} characters at most, not {len(info.description)}")
    if any("/" in name for name in info.authors):
        raise UserError("--authors: names without slashes")
    try:
        spec.LicenseId(info.license)
    except ValidationError as error:
        raise UserError(f"--license {info.license}: not an SPDX identifier, as Apache-2.0 or CC-BY-4.0 are") from error


def _write_nets(folder: Path, weights: Weights) -> list[str]:
    torch.save(weights.build_net().state_dict(), folder / "state_dict.pt")
    (folder / "unet.py").write_text(inspect.getsource(unet))
    found = {
        "TorchScript": torchscript.write(weights, folder / "torchscript.pt"),
        "ONNX": onnx.write(weights, folder / "net.onnx"),
    }
    return [f"{kind}, {line}" for kind, lines in found.items() for line in lines]


def _write_sample(folder: Path, weights: Weights, image: Values) -> None:
    """`image`: S x S x C. The test tensors, 1 x C x S x S of 0..255 and 1 x K x S x S, and the cover."""
    engine = TorchEngine(weights.build_net(), "cpu", "fp32", weights.description.threshold)
    segmenter = Segmenter(weights, engine)
    values = image.transpose(2, 0, 1)[None].astype(np.float32) * np.float32(255 / FULL_SCALE[image.dtype])
    np.save(folder / "image.npy", values)
    np.save(folder / "probabilities.npy", segmenter.probabilities(image)[None])
    (folder / "cover.png").write_bytes(encode_png(sample.cover(image, segmenter.mask(image))))


def _describe(folder: Path, weights: Weights, info: PackageInfo, text: str) -> spec.ModelDescr:
    description = weights.description
    return spec.ModelDescr(
        name=f"{description.name.replace('.', '-')} U-Net",
        description=text,
        authors=[spec.Author(name=name) for name in info.authors],
        license=spec.LicenseId(info.license),
        documentation=spec.FileDescr(source=folder / "README.md"),
        covers=[spec.FileDescr(source=folder / "cover.png")],
        attachments=[spec.FileDescr(source=folder / PACKAGED)],
        tags=["unet", "2d", "segmentation", "semantic-segmentation", "pytorch", "unet-segmentation-service"],
        inputs=[_input(folder, weights)],
        outputs=[_output(folder, weights)],
        weights=_weights(folder, weights),
        config=spec.Config(
            bioimageio=spec.BioimageioConfig(
                architecture_type="U-Net",
                task="semantic segmentation",
                model_parameter_count=sum(one.numel() for one in weights.build_net().parameters()),
            ),
            unet_segmentation_service={"weights": weights.label, "threshold": description.threshold},
        ),
    )


def _input(folder: Path, weights: Weights) -> spec.InputTensorDescr:
    description = weights.description
    config, preprocessing = description.unet, description.preprocessing
    names = {"grey": ["grey"], "rgb": ["red", "green", "blue"]}
    stored = [f"channel {index}" for index in range(config.in_channels)]
    size = spec.ParameterizedSize(min=config.stride, step=config.stride)
    return spec.InputTensorDescr(
        id=IMAGE,
        description="pixels of 0 to 255",
        axes=[
            spec.BatchAxis(),
            spec.ChannelAxis(channel_names=names.get(preprocessing.channels, stored)),
            *(spec.SpaceInputAxis(id=axis, size=size) for axis in SPACE),
        ],
        data=spec.IntervalOrRatioDataDescr(range=(0, 255)),
        test_tensor=spec.FileDescr(source=folder / "image.npy"),
        preprocessing=_preprocessing(preprocessing),
    )


def _preprocessing(
    preprocessing: Preprocessing,
) -> list[spec.ZeroMeanUnitVarianceDescr | spec.ScaleLinearDescr]:
    """From values of 0 to 255. That the noise of a flat image is not stretched cannot be said there."""
    if preprocessing.normalisation == "zscore":
        return [spec.ZeroMeanUnitVarianceDescr(kwargs=spec.ZeroMeanUnitVarianceKwargs(axes=SPACE))]
    if preprocessing.scaling == "unit":
        return [spec.ScaleLinearDescr(kwargs=spec.ScaleLinearKwargs(gain=1 / 255))]
    return []


def _output(folder: Path, weights: Weights) -> spec.OutputTensorDescr:
    sizes = [(axis, spec.SizeReference(tensor_id=IMAGE, axis_id=axis)) for axis in SPACE]
    return spec.OutputTensorDescr(
        id=PROBABILITIES,
        axes=[
            spec.BatchAxis(),
            spec.ChannelAxis(channel_names=documentation.class_names(weights)),
            *(spec.SpaceOutputAxis(id=axis, size=size) for axis, size in sizes),
        ],
        data=spec.IntervalOrRatioDataDescr(range=(0, 1)),
        test_tensor=spec.FileDescr(source=folder / "probabilities.npy"),
    )


def _weights(folder: Path, weights: Weights) -> spec.WeightsDescr:
    torch_version = spec.Version(torch.__version__.partition("+")[0])
    opset = onnx_package.load(folder / "net.onnx").opset_import[0].version
    architecture = spec.ArchitectureFromFileDescr(
        source=folder / "unet.py",
        callable=spec.Identifier(unet.ProbabilityUNet.__name__),
        kwargs={"config": weights.description.architecture.model_dump()},
    )
    return spec.WeightsDescr(
        pytorch_state_dict=spec.PytorchStateDictWeightsDescr(
            source=folder / "state_dict.pt", architecture=architecture, pytorch_version=torch_version
        ),
        torchscript=spec.TorchscriptWeightsDescr(
            source=folder / "torchscript.pt", pytorch_version=torch_version, parent="pytorch_state_dict"
        ),
        onnx=spec.OnnxWeightsDescr(source=folder / "net.onnx", opset_version=opset, parent="pytorch_state_dict"),
    )
