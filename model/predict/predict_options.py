"""The options of `python -m model.predict`."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from model.engines.choice import ENGINES, PRECISIONS
from model.engines.tta import COUNTS
from model.errors import UserError
from model.outputs.output import OUTPUTS, Output, OutputSpec
from model.segmenter import TILE
from model.weights_file import Description

BAD_ARGUMENT = 2

# What --ray may be followed by; all else is an input.
ADDRESS = re.compile(r"auto|local|(ray://)?[\w.-]+:\d+")


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The options of `python -m model.predict`; `--help` explains them.

    Attributes:
        inputs: Images, OME-Zarr folders, folders of images, or globs.
        out: Folder for the results.
        output: The output to make.
        threshold: Lowest probability of the foreground, 0..1; None for the stored one.
        min_area: Objects with fewer pixels are dropped; None for the number stored with the weights.
        class_index: The class whose probability is written.
        channel: Number or name of the channel of images that have several; "" for the first one.
        volume: True to read TIFF files part by part.
        overwrite: True to replace existing results.
        weights: The weights file; None for the bundled weights.
        engine: As in `Segmenter.load`, and so are `device`, `precision`, `tile` and `tta`.
        ray: Address of a Ray cluster; empty to find or start one, None to do without.
        workers: Number of workers on the cluster; None for as many as fill it.
        cpus: CPUs of each worker; None for all of its machine, 8 at most.
    """

    inputs: list[str]
    out: Path
    output: Output
    threshold: float | None
    min_area: int | None
    class_index: int
    channel: str
    volume: bool
    overwrite: bool
    weights: Path | None
    engine: str
    device: str
    precision: str
    tile: int
    tta: int
    ray: str | None
    workers: int | None
    cpus: int | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage, which is longer than what is wrong."""
        self.exit(BAD_ARGUMENT, f"predict: {message}\n")


def parse(argv: list[str] | None) -> PredictOptions:
    """Parses the command line. Exits with a one-line message if an option is wrong."""
    parser = _Parser(prog="python -m model.predict", description="Segment images, with no server.")
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="an image or OME-Zarr, a folder of them, or a glob in quotes",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the results, NAME_res.png")
    parser.add_argument("--output", choices=OUTPUTS, default="mask", help="default: mask")
    parser.add_argument(
        "--threshold", type=float, help="for nets of one class; default: the one stored with the weights"
    )
    parser.add_argument(
        "--min-area",
        metavar="PIXELS",
        type=_at_least(0),
        help="drop objects with fewer pixels; default: the number stored with the weights, which masks ignore",
    )
    parser.add_argument("--class", dest="class_index", type=int, default=0, help="whose probability; default: 0")
    parser.add_argument(
        "--channel",
        default="",
        metavar="N|NAME",
        help="of images that have several, or red, green, blue; default: 0, or the colours",
    )
    parser.add_argument("--volume", action="store_true", help="read TIFF files part by part; results are OME-Zarr")
    parser.add_argument("--overwrite", action="store_true", help="make results again that are there already")
    parser.add_argument("--weights", metavar="FILE", type=Path, help="default: the bundled ones")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--tile", type=int, default=TILE, help=f"side of the largest tile, pixels; default: {TILE}")
    parser.add_argument("--tta", type=int, choices=COUNTS, default=1, help="number of flips and turns to average over")
    _add_cluster(parser)
    arguments = parser.parse_args(_apart(sys.argv[1:] if argv is None else argv))
    if arguments.ray is None and (arguments.workers or arguments.cpus):
        parser.error("--workers and --cpus need --ray")
    return PredictOptions(**vars(arguments))


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("on a Ray cluster, whose machines share the files")
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        nargs="?",
        const="",
        help="host:port; without a value: the cluster of RAY_ADDRESS or of this machine, else a new one",
    )
    group.add_argument("--workers", metavar="N", type=_at_least(1), help="default: as many as fill the cluster")
    group.add_argument(
        "--cpus", metavar="N", type=_at_least(1), help="of each worker; default: its machine's, 8 at most"
    )


def _at_least(least: int) -> Callable[[str], int]:
    """Returns the type of an option that is a whole number from `least` on."""

    def convert(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more")
        return number

    convert.__name__ = "int"  # argparse names it: "invalid int value: 'x'"
    return convert


def _apart(argv: Sequence[str]) -> list[str]:
    """With `--ray` told from the input that follows it, if that is no address."""
    following = [*argv[1:], ""]
    return [
        "--ray=" if text == "--ray" and not ADDRESS.fullmatch(after) else text
        for text, after in zip(argv, following, strict=True)
    ]


def to_output_spec(options: PredictOptions, description: Description) -> OutputSpec:
    """Returns the output to make of each image. Raises UserError for a class or threshold that is out of range."""
    threshold, last = options.threshold, description.architecture.classes - 1
    if threshold is not None and not 0 < threshold < 1:
        raise UserError(f"--threshold {threshold:g}: a number between 0 and 1 is expected")
    if not 0 <= options.class_index <= last:
        raise UserError(f"--class {options.class_index}: the net's classes are 0 to {last}")
    return OutputSpec(options.output, threshold, options.class_index, min_area=options.min_area)
