"""Recognition of labels: which scheme fits all labels of a folder together.

Shape letters: H height, W width.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as connected_components

from training.data.labels.label_scheme import HALF, IGNORED, Colour, LabelScheme
from training.data.labels.stored_label import LabelError, StoredLabel, Values

# Values that mean foreground in folders whose masks differ: 0 and 1 in some, 0 and 255 in others.
FOREGROUND_VALUES = (1, 255, 65535)

# A mask with grey edges: its two ends are at least this far apart. In each label at most this share of the pixels is in
# the middle half between the ends. Without lossy compression, in each label at least this share of the pixels is at the
# ends, and at most this share of the pixels between the ends has neighbours of the same value.
_RANGE = 64
_MIDDLE = 0.25
_ENDS = 0.5
_FLAT = 0.3
_FEWEST_BETWEEN = 3

# Ids and classes. A value is usually one connected piece in an image if it is an id, and several if it is a class.
# Pieces count from this share of the value's largest piece on, and this many pieces per value mean classes.
_PIECE_SHARE = 0.1
_PIECES = 1.25
_OBJECT_PIXELS = 5  # median area of the pieces; values in smaller pieces are grey levels of a picture
_MOST_CLASSES = 64  # more distinct values are ids
_SHARED = 0.3  # mean share of the images that a class appears in
_FEWEST_IDS = 3  # in some image; values up to 2 are classes
_CONTIGUOUS = 0.75  # share of the values 0..highest that appears if the values are class indices
_EXAMINED = 24  # labels whose pieces are counted

# 255 marks ignored pixels if the other values are at most this, and at least half of the values 0..highest appear.
_HIGHEST_BESIDE_VOID = 127


@dataclass(frozen=True)
class _Grids(Sequence[Values]):
    """The values of labels, H x W integers each; they are read one label at a time."""

    labels: Sequence[StoredLabel]
    coloured: bool

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, place: int) -> Values: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Values]: ...
    def __getitem__(self, place: int | slice) -> Values | Sequence[Values]:
        if isinstance(place, slice):
            return replace(self, labels=self.labels[place])
        return pack(self.labels[place]) if self.coloured else self.labels[place].values


@dataclass(frozen=True)
class _Values:
    """The label values of a folder, label by label.

    Attributes:
        grids: H x W integers per label; colours as 0xRRGGBB.
        coloured: True if the values are colours.
        lossy: True if a compression changed the values of some labels.
        ignore: Values of ignored pixels; negative values are ignored also.
    """

    grids: Sequence[Values]
    coloured: bool
    lossy: bool
    ignore: tuple[int, ...]

    @cached_property
    def counts(self) -> list[dict[int, int]]:
        """Number of pixels by value for each label, without ignored values."""
        return [
            {value: count for value, count in count_values(grid).items() if value >= 0 and value not in self.ignore}
            for grid in self.grids
        ]

    @cached_property
    def total(self) -> dict[int, int]:
        """Number of pixels by value over all labels, in the order of the values."""
        total: Counter[int] = Counter()
        for counts in self.counts:
            total.update(counts)
        return dict(sorted(total.items()))

    @property
    def examined(self) -> list[Values]:
        """Some of the labels, from all over the folder, with 0 for ignored values."""
        chosen = np.linspace(0, len(self.grids) - 1, min(_EXAMINED, len(self.grids))).round().astype(int)
        grids = [self.grids[place] for place in chosen]
        return [np.where(np.isin(grid, self.ignore), 0, grid) for grid in grids] if self.ignore else grids


def resolve(labels: Sequence[StoredLabel], scheme: LabelScheme) -> LabelScheme:
    """The scheme that reads all these labels: the given one, with all that it leaves open found.

    Labels that fit no scheme get that of a mask, so that `read_label` names each file that does not fit.
    Raises LabelError for options that contradict the labels.
    """
    if scheme.colours:
        return replace(scheme, format="classes") if scheme.classes > 1 else replace(scheme, format="mask")
    if any(label.names for label in labels):
        return _named_classes(scheme.names or _all_names(labels), scheme)
    if any(label.objects for label in labels):
        return _objects(scheme)
    coloured = any(label.in_colours for label in labels) or (not scheme.reads_values and _palettes_differ(labels))
    values = _Values(_Grids(labels, coloured), coloured, any(label.lossy for label in labels), scheme.ignore)
    if _has_void(values, scheme):
        scheme = replace(scheme, ignore=(*scheme.ignore, IGNORED))
        values = replace(values, ignore=scheme.ignore)
    if scheme.format in ("mask", "inverted"):
        return _mask(values, scheme)
    if scheme.format == "instances":
        return scheme
    if scheme.format == "classes" or scheme.classes > 1:
        return _classes(values, scheme)
    return _found(values, scheme)


def resolve_folders(
    folders: Mapping[str, Sequence[StoredLabel]], scheme: LabelScheme
) -> tuple[LabelScheme, dict[str, LabelScheme]]:
    """The scheme of labels in several folders, and of each folder, by its name.

    Each folder of masks has its own scheme, so folders may have different values. All other labels are read together:
    a class or an id means the same in all folders.
    Raises LabelError for options that contradict the labels, and for masks of values such as 0 and 255 beside ids or
    classes.
    """
    if len(folders) > 1:
        each = {name: resolve(labels, scheme) for name, labels in folders.items()}
        masks = [name for name, found in each.items() if found.format in ("mask", "inverted")]
        if len(masks) == len(each):
            first = next(iter(each.values()))
            same = all(found == first for found in each.values())
            return (first if same else replace(scheme, format=first.format)), each
        if odd := [name for name in masks if _has_high_foreground(folders[name])]:
            kinds = sorted({found.format for found in each.values()} - {"mask", "inverted"})
            raise LabelError(
                f"{odd[0]} has masks, another folder {' and '.join(kinds)}; labels of one kind are expected, "
                "and `--threshold-labels 0` reads all of them as masks"
            )
    found = resolve([label for labels in folders.values() for label in labels], scheme)
    return found, dict.fromkeys(folders, found)


def _has_high_foreground(labels: Sequence[StoredLabel]) -> bool:
    """True if some value is above 1, so that a mask cannot be one class, or one object an image."""
    return any(label.in_colours or label.values.max(initial=0) > 1 for label in labels)


def pack(label: StoredLabel) -> Values:
    """The colours of a label as H x W int32, 0xRRGGBB. Raises LabelError for more than 8 bits."""
    red, green, blue = np.moveaxis(label.rgb.astype(np.int32), 2, 0)
    packed: Values = red << 16 | green << 8 | blue
    return packed


def _unpack(value: int) -> Colour:
    return value >> 16, value >> 8 & 255, value & 255


def count_values(grid: Values) -> dict[int, int]:
    """Number of pixels by value."""
    if grid.dtype in (np.uint8, np.uint16):
        counts = np.bincount(grid.ravel())
        found = np.flatnonzero(counts)
        return dict(zip(found.tolist(), counts[found].tolist(), strict=True))
    values, numbers = np.unique(grid, return_counts=True)
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))


def _palettes_differ(labels: Sequence[StoredLabel]) -> bool:
    """True if a number means several colours in palettes, so that colours tell what is what.

    Also for two colours if black has the higher number: programs that make a palette for each image sort it anyhow.
    """
    meanings: dict[int, Colour] = {}
    for label in labels:
        if label.palette is None:
            continue
        for number in count_values(label.values):
            colour = _as_colour(label.palette[number])
            if meanings.setdefault(number, colour) != colour:
                return True
    return len(meanings) == 2 and meanings[max(meanings)] == (0, 0, 0) and IGNORED not in meanings


def _as_colour(rgb: NDArray[np.uint8]) -> Colour:
    red, green, blue = map(int, rgb)
    return red, green, blue


def _all_names(labels: Sequence[StoredLabel]) -> tuple[str, ...]:
    """The names of all labels in the order in which they appear, the background's first."""
    return tuple(dict.fromkeys(name for label in labels for name in label.names))


def _named_classes(names: tuple[str, ...], scheme: LabelScheme) -> LabelScheme:
    """The scheme of labels whose values are class indices by construction. Raises LabelError."""
    if scheme.format not in ("auto", "classes") or scheme.classes not in (1, len(names)):
        asked = f"--classes {scheme.classes}" if scheme.classes > 1 else f"--label-format {scheme.format}"
        raise LabelError(
            f"{asked} does not fit the labels, which name {len(names) - 1} classes: {', '.join(names[1:])}"
        )
    return replace(scheme, format="classes", classes=len(names), names=names)


def _objects(scheme: LabelScheme) -> LabelScheme:
    """The scheme of labels whose values are object ids by construction. Raises LabelError."""
    if scheme.classes > 1 or scheme.format == "classes":
        raise LabelError("the labels are objects without classes; --label-format instances or mask reads them")
    if scheme.format in ("mask", "inverted"):
        return replace(scheme, threshold=0.0)
    return replace(scheme, format="instances")


def _found(values: _Values, scheme: LabelScheme) -> LabelScheme:
    """The scheme of labels of unknown kind."""
    if scheme.threshold is not None or scheme.values or _is_mask(values) or has_grey_edges(values):
        return _mask(values, replace(scheme, format="mask"))
    kind = None if values.lossy else _kind(values)
    if kind == "classes":
        return _classes(values, scheme)
    return replace(scheme, format=kind or "mask")


def _is_mask(values: _Values) -> bool:
    """True for two values in all labels together, and for 0 with one of the usual foreground values in each."""
    if len(values.total) <= 2:
        return True
    usual = set(values.total) <= {0, *FOREGROUND_VALUES}
    return usual and all(len(counts.keys() - {0}) <= 1 for counts in values.counts)


def _mask(values: _Values, scheme: LabelScheme) -> LabelScheme:
    """The scheme of a mask, with its two values, its two colours or its threshold."""
    found = list(values.total)
    if scheme.values:
        return scheme
    if scheme.threshold is None and len(found) == 2:
        if values.coloured:
            return replace(scheme, colours=_background_first(found))
        usual = found[0] == 0 and found[1] in FOREGROUND_VALUES
        return scheme if usual else replace(scheme, values=(found[0], found[1]))
    if scheme.threshold == HALF or (scheme.threshold is None and not _is_mask(values) and has_grey_edges(values)):
        return replace(scheme, threshold=(found[0] + found[-1]) / 2)
    return scheme


def _background_first(found: list[int]) -> tuple[Colour, ...]:
    """Two colours 0xRRGGBB as RGB: black or else white is the background, else the darker colour."""
    colours = [_unpack(value) for value in found]
    for background in ((0, 0, 0), (255, 255, 255)):
        if background in colours:
            return tuple(sorted(colours, key=lambda colour: colour != background))
    return tuple(sorted(colours, key=sum))


def has_grey_edges(values: _Values) -> bool:
    """True for masks of two values with few pixels between them, from smoothing, resizing or JPEG."""
    found = list(values.total)
    if values.coloured or len(found) <= 2 or found[-1] - found[0] < _RANGE:
        return False
    lowest, highest = found[0], found[-1]
    quarter = (highest - lowest) / 4
    for counts in values.counts:
        pixels = sum(counts.values())
        middle = sum(count for value, count in counts.items() if lowest + quarter < value < highest - quarter)
        ends = counts.get(lowest, 0) + counts.get(highest, 0)
        if middle > _MIDDLE * pixels or (not values.lossy and ends < _ENDS * pixels):
            return False
    if values.lossy:
        return True
    return len(found) - 2 >= _FEWEST_BETWEEN and _flat_share(values.examined, lowest, highest) <= _FLAT


def _flat_share(grids: Sequence[Values], lowest: int, highest: int) -> float:
    """Share of the pixels between two ends whose right and lower neighbours have the same value."""
    between = flat = 0
    for grid in grids:
        inside = (grid > lowest) & (grid < highest)
        between += int(np.count_nonzero(inside))
        like_right, like_below = grid[:-1, :-1] == grid[:-1, 1:], grid[:-1, :-1] == grid[1:, :-1]
        flat += int(np.count_nonzero(inside[:-1, :-1] & like_right & like_below))
    return flat / max(1, between)


def _has_void(values: _Values, scheme: LabelScheme) -> bool:
    """True if the values are 255 and low contiguous values: 255 marks pixels that the label says nothing about."""
    if values.coloured or IGNORED not in values.total or IGNORED in scheme.values or scheme.threshold is not None:
        return False
    if _is_mask(values) or has_grey_edges(values):
        return False
    if not any(IGNORED in counts and len(counts.keys() - {0}) > 1 for counts in values.counts):
        return False  # in each label, 255 may be the foreground
    others = [value for value in values.total if value != IGNORED]
    return others[-1] <= _HIGHEST_BESIDE_VOID and 2 * len(others) > others[-1]


def _kind(values: _Values) -> Literal["instances", "classes"] | None:
    """Ids or classes, for labels of more than two values; None for values that are neither."""
    examined = [_pieces(grid) for grid in values.examined]
    distinct, pieces = (sum(each[place] for each in examined) for place in (0, 1))
    areas = np.concatenate([each[2] for each in examined])
    if not len(areas) or np.median(areas) < _OBJECT_PIXELS:
        return None
    many = len(values.total) > _MOST_CLASSES
    if pieces > _PIECES * distinct:
        return None if many else "classes"
    sets = [counts.keys() - {0} for counts in values.counts if counts.keys() - {0}]
    beyond_classes = not values.coloured and max(values.total) > IGNORED
    if many or beyond_classes or len(sets) == 1:
        return "instances" if max(map(len, sets)) >= _FEWEST_IDS else None
    if all(each == sets[0] for each in sets):
        return "classes"
    if all(each == set(range(1, len(each) + 1)) for each in sets):
        return "instances" if max(map(len, sets)) >= _FEWEST_IDS else "classes"
    appearing = sum(map(len, sets)) / (len(sets) * len(set[int]().union(*sets)))
    return "classes" if appearing >= _SHARED else "instances"


def _pieces(grid: Values) -> tuple[int, int, Values]:
    """(number of values, number of their pieces, areas of these pieces) of a label, 0 and negative values left out.

    A piece is an 8-connected region of one value that is not tiny beside the value's largest region.
    """
    regions = connected_components(np.maximum(grid, 0), connectivity=2, background=0)
    areas = np.bincount(regions.ravel())
    value_of = np.zeros(len(areas), np.int64)
    value_of[regions.ravel()] = grid.ravel()
    distinct, places = np.unique(value_of[1:], return_inverse=True)
    largest = np.zeros(len(distinct), np.int64)
    np.maximum.at(largest, places, areas[1:])
    counted = areas[1:] >= _PIECE_SHARE * largest[places]
    return len(distinct), int(counted.sum()), areas[1:][counted]


def _classes(values: _Values, scheme: LabelScheme) -> LabelScheme:
    """The scheme of classes with their number, and with their values or colours if these are no class indices."""
    scheme = replace(scheme, format="classes")
    found = list(values.total)
    if scheme.values or len(found) < 2:
        return replace(scheme, classes=max(2, scheme.classes))
    asked = scheme.classes > 1
    if values.coloured:
        fits = len(found) == scheme.classes if asked else len(found) <= _MOST_CLASSES
        colours = tuple(_unpack(value) for value in found)
        return replace(scheme, classes=len(found), colours=colours) if fits else scheme
    if asked:
        mapped = found[-1] >= scheme.classes == len(found)
        return replace(scheme, values=tuple(found)) if mapped else scheme
    if found[-1] < IGNORED and len(found) >= _CONTIGUOUS * (found[-1] + 1):
        return replace(scheme, classes=found[-1] + 1)
    if len(found) <= _MOST_CLASSES:
        return replace(scheme, classes=len(found), values=tuple(found))
    return replace(scheme, classes=min(found[-1] + 1, IGNORED))
