"""Labels: stored values become class indices and object ids.

Shape letters: H height, W width.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import UserError
from training.data.labels.label_scheme import IGNORED, Colour, LabelScheme
from training.data.labels.recognition import FOREGROUND_VALUES, count_values, pack
from training.data.labels.stored_label import LabelError, StoredLabel, Values

# Pixels, in all, between two objects that touch: one taken from either side.
BORDER = 2

_VALUES_SHOWN = 6


@dataclass(frozen=True)
class Encoding:
    """Facts about a label's file.

    Attributes:
        scheme: The scheme that the label was read with.
        bits: Bits per value.
        palette: True if the values are indices of a palette.
        values: (lowest, highest) value, without ignored values; (0, 0) if all are ignored.
        objects: Number of objects, for instances.
        lost: Number of objects that are too small to outlast the borders between objects.
        overlap: Number of pixels that several objects claimed.
    """

    scheme: LabelScheme
    bits: int = 8
    palette: bool = False
    values: tuple[int, int] = (0, 0)
    objects: int = 0
    lost: int = 0
    overlap: int = 0


@dataclass(frozen=True, eq=False)
class Label:
    """A label that was read.

    Attributes:
        classes: H x W uint8 class indices; 0 background, 1 the foreground of one class, `IGNORED` an unlabelled pixel.
        ids: H x W int32 object ids, 0 for none; None if the label does not tell objects apart.
        encoding: How the file stores the label.
    """

    classes: NDArray[np.uint8]
    ids: NDArray[np.int32] | None
    encoding: Encoding


def read_label(stored: StoredLabel, scheme: LabelScheme, border: int = BORDER) -> Label:
    """The label that stored values mean.

    Args:
        stored: The values.
        scheme: How to read them, without anything left open; see `training.data.labels.recognition.resolve`.
        border: Pixels cleared between two objects that touch, for instances; see `separate`.

    Raises:
        LabelError: The values do not fit the scheme.
    """
    if stored.lossy and scheme.format in ("instances", "classes"):
        kept = "classes" if scheme.format == "classes" else "ids of objects"
        raise LabelError(f"{stored.lossy} does not keep the {kept}; PNG or TIFF is expected")
    values = _values(stored, scheme)
    ignored = (values < 0) | np.isin(values, scheme.ignore) if scheme.ignore or values.dtype == np.int32 else None
    if ignored is not None and not ignored.any():
        ignored = None
    said = values if ignored is None else values[~ignored]
    ends = (int(said.min()), int(said.max())) if said.size else (0, 0)
    encoding = Encoding(scheme, stored.bits, stored.palette is not None, ends, overlap=stored.overlap)
    ids: NDArray[np.int32] | None = None
    if scheme.format == "instances":
        shown = values if ignored is None else np.where(ignored, 0, values)
        foreground = separate(shown, border)
        objects, left = (len(count_values(grid).keys() - {0}) for grid in (shown, shown[foreground]))
        # tables of ids must not grow with numbers such as those of segmentation databases
        ids = (shown if shown.max(initial=0) <= shown.size else _renumbered(shown)).astype(np.int32)
        classes = foreground.astype(np.uint8)
        encoding = replace(encoding, objects=objects, lost=objects - left)
    elif scheme.format == "classes":
        classes = _class_indices(values, said, scheme)
    else:
        classes = _foreground(values, said, stored, scheme).astype(np.uint8)
    if ignored is not None:
        classes[ignored] = IGNORED
    return Label(classes, ids, encoding)


def separate(ids: Values, border: int = BORDER) -> NDArray[np.bool_]:
    """Clears a border between objects that touch.

    The 4-connected components of the result never join two ids. Edges towards the background stay unchanged.

    Args:
        ids: H x W object ids, 0 for background.
        border: Pixels, at least 1, cleared between two objects; an odd one is taken from the higher id.

    Returns:
        H x W bool, True inside an object and not on a border.
    """
    if border < 1:
        raise UserError(f"a border of {border} pixels; at least 1 is expected")
    ordered = ids if ids.dtype in (np.uint8, np.uint16) else _renumbered(ids)
    background_highest = np.where(ordered == 0, np.iinfo(ordered.dtype).max, ordered)
    lowest = cv2.erode(background_highest, _disc(border - border // 2))
    highest = cv2.dilate(ordered, _disc(border // 2))
    foreground: NDArray[np.bool_] = (ordered > 0) & (lowest == ordered) & (highest == ordered)
    return foreground


def _renumbered(ids: Values) -> NDArray[np.uint16]:
    """Ids in their order as uint16, because OpenCV erodes no int32. Raises LabelError for more than 65534 objects."""
    distinct, places = np.unique(ids, return_inverse=True)
    if len(distinct) > np.iinfo(np.uint16).max:
        raise LabelError(f"a label with {len(distinct)} objects; at most {np.iinfo(np.uint16).max - 1} are possible")
    ordered: NDArray[np.uint16] = (places + int(distinct[0] != 0)).reshape(ids.shape).astype(np.uint16)
    return ordered


def _disc(radius: int) -> cv2.typing.MatLike:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _values(stored: StoredLabel, scheme: LabelScheme) -> Values:
    """H x W integers: the stored values, or the positions of the pixels' colours. Raises LabelError."""
    if scheme.colours:
        return _by_colour(stored, scheme.colours)
    if stored.names and scheme.names and stored.names != scheme.names:
        return _by_name(stored, scheme.names)
    if not stored.in_colours:
        return stored.values
    if scheme.format == "instances":
        return pack(stored)
    raise LabelError(
        "a label in colours; one channel, or three equal channels, are expected, or `--colours`, one per class"
    )


def _by_colour(stored: StoredLabel, colours: tuple[Colour, ...]) -> NDArray[np.uint8]:
    """H x W: the position of each pixel's colour. Raises LabelError for other colours."""
    rgb = stored.rgb
    label, known = np.zeros(rgb.shape[:2], np.uint8), np.zeros(rgb.shape[:2], np.bool_)
    for index, colour in enumerate(colours):
        here = (rgb == np.array(colour, np.uint8)).all(axis=2)
        label[here], known[here] = index, True
    if not known.all():
        found, expected = listed(map(hex_colour, np.unique(rgb[~known], axis=0))), listed(map(hex_colour, colours))
        raise LabelError(f"a label with the colours {found}, which no class has; {expected} are expected")
    return label


def _by_name(stored: StoredLabel, names: tuple[str, ...]) -> Values:
    """H x W: the values, numbered by the positions of their names in `names`. Raises LabelError for other names."""
    used = [stored.names[value] for value in count_values(stored.values) if value >= 0]
    if unknown := [name for name in used if name not in names]:
        raise LabelError(f"a label of the class {listed(unknown)}; {listed(names[1:])} are expected")
    numbers = np.array([names.index(name) if name in names else 0 for name in stored.names], np.int32)
    by_name: Values = np.where(stored.values < 0, stored.values, numbers[np.maximum(stored.values, 0)])
    return by_name


def hex_colour(colour: Iterable[int]) -> str:
    """The colour as "#rrggbb"."""
    return "#" + "".join(f"{channel:02x}" for channel in colour)


def listed(items: Iterable[object]) -> str:
    """The first items, separated by commas, with "..." for more."""
    texts = list(map(str, items))
    return ", ".join(texts[:_VALUES_SHOWN]) + (", ..." if len(texts) > _VALUES_SHOWN else "")


def _class_indices(values: Values, said: Values, scheme: LabelScheme) -> NDArray[np.uint8]:
    """H x W class indices. Raises LabelError for values that belong to no class."""
    if not scheme.values:
        found = np.unique(said)
        if said.size and found[-1] >= scheme.classes:
            raise LabelError(
                f"a label with the values {listed(found)}; 0 to {scheme.classes - 1} are expected, "
                "or other values that `--values` lists; `--ignore` leaves values out"
            )
        return values.astype(np.uint8)
    classes = np.full(values.shape, IGNORED, np.uint8)
    for index, value in enumerate(scheme.values):
        classes[values == value] = index
    if not np.isin(said, scheme.values).all():
        raise _unexpected(said, listed(scheme.values), "; `--values` lists the values, `--ignore` leaves values out")
    return classes


def _foreground(values: Values, said: Values, stored: StoredLabel, scheme: LabelScheme) -> NDArray[np.bool_]:
    """H x W bool. Raises LabelError for values that a mask with this scheme does not have."""
    if scheme.threshold is not None:
        foreground = values > scheme.threshold
    elif scheme.values:
        if not np.isin(said, scheme.values).all():
            raise _unexpected(said, f"{scheme.values[0]} and {scheme.values[1]}", _hint(said, stored))
        foreground = values == scheme.values[1]
    else:
        _check_mask(said, stored)
        foreground = values > 0
    return ~foreground if scheme.format == "inverted" else foreground


def _check_mask(said: Values, stored: StoredLabel) -> None:
    """Raises LabelError unless there are no values but 0 and one that stands for the other side."""
    found = np.unique(said)
    highest = found[-1] if said.size else 0
    if np.count_nonzero(found) <= 1 and highest in (0, *FOREGROUND_VALUES):
        return
    raise _unexpected(said, "0 and 255 (or 0 and 1, or 0 and 65535)", _hint(said, stored))


def _unexpected(said: Values, expected: str, hint: str) -> LabelError:
    return LabelError(f"a label with the values {listed(np.unique(said))}; {expected} are expected{hint}")


def _hint(said: NDArray[Any], stored: StoredLabel) -> str:
    """The options for labels that are no masks of two values."""
    if stored.lossy:
        return f"; {stored.lossy} blurs a label's values, PNG and TIFF keep them; `--threshold-labels` reads a mask"
    if len(np.unique(said)) <= 2:
        return ""
    return (
        "; `--label-format instances` reads ids of objects, `--label-format classes` classes, "
        "`--threshold-labels` a mask with grey edges"
    )
