"""Options that say how labels are read, shared by the commands that read labels."""

import argparse

from training.data.labels.label_scheme import HALF, LABEL_FORMATS, LabelScheme, name_classes, parse_colour
from training.errors import DataError


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `scheme_of` to a parser."""
    parser.add_argument(
        "--label-format",
        choices=LABEL_FORMATS,
        default="auto",
        help="kind of the labels, see training/README.md (default: auto, found from all labels together)",
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


def scheme_of(arguments: argparse.Namespace, classes: int | None) -> LabelScheme:
    """The scheme that the options describe.

    Args:
        arguments: The values of the options that `add_label_options` adds.
        classes: The number of classes, if it is known.

    Raises:
        ValueError: The options contradict each other.
    """
    values, colours = tuple(arguments.values), tuple(arguments.colours)
    label_format = arguments.label_format
    if len(values) == 2 and not classes and label_format == "classes":
        classes = 2
    counted = len(values) if len(values) != 2 else 1
    return LabelScheme(
        label_format,
        classes or max(1, len(colours), counted),
        colours,
        values,
        tuple(arguments.ignore),
        arguments.threshold_labels,
    )


def check_labels(arguments: argparse.Namespace, scheme: LabelScheme) -> None:
    """Raises DataError if the names of the classes or the kind of objects do not fit the number of classes."""
    try:
        name_classes(scheme.classes, arguments.labels or scheme.names)
    except ValueError as error:
        raise DataError(f"--labels: {error}") from error
    if scheme.classes > 1 and arguments.objects == "interiors":
        raise DataError("--objects interiors is for one class: borders are a class of their own among several")
