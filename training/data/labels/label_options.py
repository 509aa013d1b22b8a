"""Options that say how labels are read, shared by the commands that read labels."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.outputs.objects import Objects
from training.data.labels.label_scheme import (
    HALF,
    LABEL_FORMATS,
    Colour,
    LabelFormat,
    LabelScheme,
    name_classes,
    parse_colour,
)
from training.data_error import DataError


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """The values of the options that `add_label_options` adds.

    Attributes:
        label_format: Kind of the labels; "auto" to find it.
        colours: Colours of the classes, in order; empty if labels have no colours.
        values: Label values of the classes, in order; empty to find them.
        ignore: Label values of pixels that do not count.
        threshold_labels: Masks above this value are foreground; None to find it if needed.
    """

    label_format: LabelFormat
    colours: tuple[Colour, ...]
    values: tuple[int, ...]
    ignore: tuple[int, ...]
    threshold_labels: float | None


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `scheme_of` to a parser."""
    parser.add_argument(
        "--label-format",
        choices=LABEL_FORMATS,
        default="auto",
        help="kind of the labels, see docs/labels.md (default: auto, found from all labels together)",
    )
    parser.add_argument(
        "--colours",
        nargs="+",
        type=parse_colour,
        default=(),
        metavar="COLOUR",
        help="colours of classes 0, 1, 2 ... in labels in colours: '#000000' '#ff0000', or names",
    )
    parser.add_argument(
        "--values",
        nargs="+",
        type=int,
        default=(),
        metavar="VALUE",
        help="label values of classes 0, 1, 2 ...; two values are background and foreground (default: found)",
    )
    parser.add_argument(
        "--ignore",
        nargs="+",
        type=int,
        default=(),
        metavar="VALUE",
        help="label values of pixels that count in no loss and no score (default: 255 beside classes)",
    )
    parser.add_argument(
        "--threshold-labels",
        nargs="?",
        type=float,
        const=HALF,
        metavar="VALUE",
        help="mask values above VALUE are foreground; alone: above half of the range (default: found if needed)",
    )


def frozen_values(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the parsed values with tuples in place of lists, for a frozen dataclass of options."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in vars(arguments).items()}


def scheme_of(options: LabelOptions, classes: int | None) -> LabelScheme:
    """The scheme that the options describe.

    Args:
        options: The options.
        classes: The number of classes, if it is known.

    Raises:
        ValueError: The options contradict each other.
    """
    values, colours, label_format = options.values, options.colours, options.label_format
    if len(values) == 2 and not classes and label_format == "classes":
        classes = 2
    counted = len(values) if len(values) != 2 else 1
    return LabelScheme(
        label_format,
        classes or max(1, len(colours), counted),
        colours,
        values,
        options.ignore,
        options.threshold_labels,
    )


def check_labels(scheme: LabelScheme, labels: Sequence[str], objects: Objects | None) -> None:
    """Raises DataError if the names of the classes or the kind of objects do not fit the number of classes."""
    try:
        name_classes(scheme.classes, labels or scheme.names)
    except ValueError as error:
        raise DataError(f"--labels: {error}") from error
    if scheme.classes > 1 and objects == "interiors":
        raise DataError("--objects interiors is for one class: borders are a class of their own among several")
