"""The command line of `python -m training.run`."""

import argparse
import math
import os
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

from model.outputs.objects import Objects
from training.data.card_options import add_card_options
from training.data.image_reader import add_channel_option
from training.data.labels.label_options import add_label_options, check_labels, frozen_values, scheme_of
from training.data.labels.label_scheme import LabelScheme
from training.data_error import DataError
from training.loop.run_folder import RunFolder
from training.run.training_options import TrainingOptions
from training.scoring.objective import OBJECTIVES


def parse(argv: list[str] | None) -> TrainingOptions:
    """Parses the command line.

    `--resume` with no option but `--out` stands for the options that the training began with. If they are not known,
    the command ends, because the defaults would make another training.
    """
    parser, given = _parser(), sys.argv[1:] if argv is None else argv
    arguments = parser.parse_args(given)
    # all options or none: a training with other options must be refused, not continued by chance
    if arguments.resume and arguments == parser.parse_args(["--resume", f"--out={arguments.out}"]):
        begun = _begun_with(arguments.out)
        if not begun and not any(option.startswith("--data") for option in given):
            parser.error(f"--resume: {arguments.out} holds no training yet; to begin one, give --data and its options")
        arguments = parser.parse_args([*begun, *given])
        given = begun or given
    # the scheme follows from the other options
    options = TrainingOptions(**frozen_values(arguments), command_line=tuple(given), scheme=LabelScheme())
    options = _with_scheme(parser, options)
    _check_holdout(parser, arguments)
    return options


def _begun_with(out: Path) -> list[str]:
    """Returns the options in the folder's config.json, or none."""
    folder = RunFolder(out)
    if folder.is_being_put_aside:
        return []
    try:
        options = shlex.split(folder.read_config()["command"])[3:]  # after python -m training.run
        return [option for option in options if option != "--resume"]
    except (DataError, KeyError, TypeError, ValueError, AttributeError):
        return []


def _with_scheme(parser: argparse.ArgumentParser, options: TrainingOptions) -> TrainingOptions:
    """Decides the scheme; ends the command if the options contradict each other, before the data are read."""
    try:
        scheme = scheme_of(options, options.classes)
        found_later = scheme.format in ("auto", "classes") and scheme.classes == 1
        if not found_later:
            check_labels(scheme, options.labels, options.objects)
    except ValueError as error:
        parser.error(str(error))
    if scheme.classes > 1 and options.objects in ("interiors", "seeds"):
        parser.error(f"--objects {options.objects} is for one class; of several classes, objects are regions")
    return replace(options, scheme=scheme)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.run", description="Train a U-Net on a folder of images and labels."
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=(Path("data/train"),),
        metavar="DIR",
        help="folder with image/ and label/, or a ZIP of it; of several, the last one's label of an image counts "
        "(default: data/train)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/latest"), help="folder for weights and records (default: runs/latest)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="resume the training in --out; needs no other options, or the same ones"
    )
    add_channel_option(parser, "0, or the colours")
    _add_holdout(parser)
    _add_length(parser)
    _add_recipe(parser)
    _add_machine(parser)
    parser.add_argument("--name", default="unet", help="the name the weights are served under (default: unet)")
    _add_labels(parser)
    add_card_options(parser)
    return parser


def _add_holdout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--val-fraction",
        type=float,
        help="share of the images held out to choose the weights by, in whole groups (default: 0.2; tutorial: 0)",
    )
    parser.add_argument(
        "--group",
        type=_pattern,
        metavar="REGEX",
        help="images whose names have the same first capture group (or whole match) are never split "
        "(default: groups found from the names, such as sequences, patients, stacks)",
    )
    parser.add_argument(
        "--val", type=Path, metavar="DIR", help="hold out the images of this folder, laid out like --data"
    )
    parser.add_argument(
        "--folds",
        type=_positive(int),
        metavar="K",
        help="train K + 1 times: each K-th of the images is scored by weights that have not seen it, "
        "then the final weights are trained on all images",
    )


# Options that exclude each other, and why.
_EXCLUSIVE = (
    ("--val", "--val-fraction", "the images of the folder are held out"),
    ("--val", "--group", "the images of the folder are held out"),
    ("--val", "--folds", "folds hold out images of --data"),
    ("--folds", "--val-fraction", "K folds hold out a K-th of the images each"),
    ("--folds", "--threshold", "the threshold is found on the held-out images of all folds"),
    ("--folds", "--patience", "all trainings must have the same length"),
)


def _check_holdout(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Ends the command if an option about held-out images would be ignored."""
    if arguments.folds == 1:
        parser.error("--folds 1: at least 2 folds are needed")
    for option, other, why in _EXCLUSIVE:
        values = [getattr(arguments, name.removeprefix("--").replace("-", "_")) for name in (option, other)]
        if None not in values:
            parser.error(f"{option} does not go with {other}: {why}")


def _pattern(text: str) -> str:
    """A regular expression. Raises ArgumentTypeError."""
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from error
    return text


def _add_labels(parser: argparse.ArgumentParser) -> None:
    add_label_options(parser)
    parser.add_argument(
        "--classes",
        type=_positive(int),
        metavar="K",
        help="number of classes with the background, of labels 0 to K-1 (default: found)",
    )
    parser.add_argument(
        "--objects",
        choices=get_args(Objects),
        help="how a mask becomes objects: regions; interiors are regions grown until lines separate them; seeds are "
        "regions split at necks (default: interiors if the labels' background is a thin net, seeds for instance "
        "labels, else regions)",
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        default=(),
        metavar="NAME",
        help="what the mask's values are called, from the background on",
    )


def _add_length(parser: argparse.ArgumentParser) -> None:
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=_positive(int), help="passes over the images")
    length.add_argument("--steps", type=_positive(int), help="steps of the optimizer")
    length.add_argument(
        "--minutes",
        type=_positive(float),
        help="time from the start of the command to weights and report; a short time takes a narrow net",
    )
    parser.add_argument(
        "--patience",
        type=_positive(int),
        metavar="CHECKS",
        help="stop after this number of checks without a better score",
    )


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", choices=("default", "tutorial"), default="default", help="default: default")
    parser.add_argument(
        "--init",
        nargs="?",
        type=Path,
        const=Path("bundled"),
        metavar="WEIGHTS",
        help="start from these weights (without a value: the bundled ones) if a short trial shows that they help",
    )
    parser.add_argument("--width", type=int, help="channels of the first level (default: 32; tutorial: 64)")
    parser.add_argument("--batch", type=int, help="images per step (default: 6; tutorial: 1)")
    parser.add_argument("--crop", type=int, help="side of the training crops in pixels (default: 256)")
    parser.add_argument(
        "--learning-rate",
        type=_positive(float),
        help="the schedule's highest (default: 2e-3, from weights 5e-4; tutorial: 1e-5)",
    )
    parser.add_argument("--seed", type=_count, default=0, help="default: 0")
    parser.add_argument("--threshold", type=float, help="threshold to store if no images are held out to find it")
    parser.add_argument(
        "--select",
        choices=OBJECTIVES,
        help="the score of held-out images that chooses weights and threshold (default: decided from the labels)",
    )
    parser.add_argument(
        "--channels", choices=("grey", "rgb"), help="what the net takes (default: rgb if the images are in colour)"
    )


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--workers",
        type=_count,
        default=min(4, (os.cpu_count() or 2) - 1),
        help="processes that load and augment (under torchrun: of each; default here: %(default)s)",
    )
    parser.add_argument(
        "--image-memory",
        type=_positive(float),
        metavar="GIB",
        help="memory for decoded images; a scratch file in --out takes the rest (default: a quarter of what is free)",
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the net first (slower on CPUs, see training/README.md)"
    )
    parser.add_argument(
        "--sync-batch-norm",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="under torchrun: statistics of the whole batch, not of each process's share (default: yes)",
    )


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError("must be 0 or more, and fit 63 bits")
    return value


_count.__name__ = "int"  # argparse names it: "invalid int value: 'x'"


def _positive(kind: type[int] | type[float]) -> "type[int] | type[float]":
    def positive(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError("must be more than 0, and finite")
        return value

    positive.__name__ = kind.__name__
    return positive  # type: ignore[return-value]  # argparse takes any function
