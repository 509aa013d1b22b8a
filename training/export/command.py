"""`python -m training.export --weights W --to FORMAT --out PATH`: a trained net for other programs, or in 8 bits.

Formats: `onnx`, `torchscript`, `openvino`, `bioimageio`. Each file is compared with the net in torch, and a file that
computes something else is not kept. A format's packages are imported only if that format is requested.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from model.errors import UserError
from model.weights_file import BUNDLED, Weights, load_weights
from training.data.image_reader import add_channel_option
from training.export.parity import ParityError


@dataclass(frozen=True)
class Format:
    """A format: the kind of file, its suffix, and the packages needed to write and check it."""

    file: str
    suffix: str
    packages: tuple[str, ...]


FORMATS = {
    "onnx": Format("an ONNX net is an .onnx file", ".onnx", ("onnx", "onnxscript", "onnxruntime")),
    "torchscript": Format("a TorchScript net is a .pt file", ".pt", ()),
    "openvino": Format("an OpenVINO graph is an .xml file (with a .bin beside it)", ".xml", ("openvino",)),
    "bioimageio": Format(
        "a BioImage.IO package is a .zip file", ".zip", ("bioimageio", "onnx", "onnxscript", "onnxruntime")
    ),
}

# What else a package of the zoo may be told, see `training.export.bioimageio.PackageInfo`.
PACKAGE_OPTIONS = ("authors", "description", "license", "sample")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code: 0, or after a message on stderr 2, or 1 if the file computes otherwise."""
    options = _parse(argv)
    try:
        _check_packages(options)
        weights = load_weights(options.weights)
        _check_weights(options, weights)
        path = file_path(options.out, options.to, weights)
        with _whole_or_not_at_all(path) as unfinished:
            found = _write(options, weights, unfinished)
    except ParityError as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    except (UserError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    print(f"{path}:", *found, sep="\n  ")
    return 0


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of `python -m training.export`; `--help` explains them.

    Attributes:
        weights: The weights file to export.
        to: Name of the format, a key of `FORMATS`.
        out: File or folder to write to.
        precision: "fp32" or "int8".
        calibrate: Folder of images for int8.
        channel: Number or name of the channel to read of images that have several; "" for the weights' own.
        authors: Authors of a BioImage.IO package, and so are `description`, `license` and `sample` of one.
    """

    weights: Path
    to: str
    out: Path
    precision: str
    calibrate: Path | None
    channel: str
    authors: list[str] | None
    description: str | None
    license: str | None
    sample: Path | None


def _parse(argv: list[str] | None) -> ExportOptions:
    parser = argparse.ArgumentParser(prog="python -m training.export", description="Export a trained net.")
    parser.add_argument("--weights", type=Path, default=BUNDLED, help="default: the bundled ones")
    parser.add_argument("--to", choices=FORMATS, required=True)
    parser.add_argument("--out", metavar="PATH", type=Path, required=True, help="a file, or a folder to put it in")
    add_channel_option(parser, "the channel of the weights' training, else 0, or the colours")
    int8 = parser.add_argument_group("openvino")
    int8.add_argument("--precision", choices=["fp32", "int8"], default="fp32", help="number format (default: fp32)")
    int8.add_argument(
        "--calibrate",
        metavar="DIR",
        type=Path,
        help="images like those to be segmented, for int8: a folder or a ZIP; labels do not matter",
    )
    package = parser.add_argument_group("bioimageio")
    package.add_argument("--authors", metavar="NAME", nargs="+", help="who trained the net")
    package.add_argument("--description", metavar="TEXT", help="default: made of what the weights say of themselves")
    package.add_argument("--license", metavar="SPDX-ID", help="of the weights; default: Apache-2.0")
    package.add_argument("--sample", metavar="IMAGE", type=Path, help="an image for the package's test and its cover")
    arguments = parser.parse_args(argv)
    if (arguments.precision == "int8") != bool(arguments.calibrate):
        parser.error("--precision int8 and --calibrate DIR go together")
    for name in ("calibrate", *PACKAGE_OPTIONS):
        owner = "bioimageio" if name in PACKAGE_OPTIONS else "openvino"
        if getattr(arguments, name) and arguments.to != owner:
            parser.error(f"--{name} goes with --to {owner}")
    if arguments.channel and not (arguments.calibrate or arguments.sample):
        parser.error("--channel goes with --calibrate or --sample")
    return ExportOptions(**vars(arguments))


def _check_packages(options: ExportOptions) -> None:
    """Raises ValueError."""
    wanted = FORMATS[options.to].packages + (("nncf",) if options.precision == "int8" else ())
    if missing := [name for name in wanted if find_spec(name) is None]:
        raise UserError(
            f'--to {options.to} needs {", ".join(missing)}, which is not installed: pip install ".[export]"'
        )


def _check_weights(options: ExportOptions, weights: Weights) -> None:
    """Raises ValueError for a net that the format is not for."""
    if options.to == "openvino" and weights.description.unet.upsampling == "bilinear_aligned":
        raise UserError("--to openvino takes no nets with aligned corners; onnx, torchscript and bioimageio do")


def file_path(out: Path, to: str, weights: Weights) -> Path:
    """Where the file goes: `out`, or a name in the folder `out`. Raises ValueError for a name of another kind."""
    suffix = FORMATS[to].suffix
    if out.suffix == suffix and not out.is_dir():
        return out
    if out.suffix and not out.is_dir():
        raise UserError(f"--out {out}: {FORMATS[to].file}, or goes to a folder")
    return out / f"{weights.description.name}{suffix}"


@contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """Yields a path in a temporary folder, whose files are moved to the folder of `path` at the end, `path` last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        for file in sorted(Path(folder).iterdir(), key=lambda file: file == unfinished):
            file.replace(path.with_name(file.name))


def _write(options: ExportOptions, weights: Weights, path: Path) -> list[str]:
    """Writes and checks the file; returns what there is to say of it. Raises what `main` catches."""
    match options.to:
        case "onnx":
            from training.export import onnx

            return onnx.write(weights, path)
        case "torchscript":
            from training.export import torchscript

            return torchscript.write(weights, path)
        case "openvino":
            from training.export import openvino_graph

            if options.calibrate:
                return openvino_graph.write_int8(weights, options.calibrate, path, options.channel)
            return openvino_graph.write(weights, path)
    from training.export import bioimageio

    given = {name: getattr(options, name) for name in PACKAGE_OPTIONS if getattr(options, name)}
    return bioimageio.write(weights, options.weights, path, bioimageio.PackageInfo(**given, channel=options.channel))
