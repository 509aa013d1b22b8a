"""Label schemes: how label values become classes, and the names of these classes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from PIL import ImageColor

from model.errors import UserError

LabelFormat = Literal["auto", "mask", "inverted", "instances", "classes"]

LABEL_FORMATS: tuple[LabelFormat, ...] = get_args(LabelFormat)

Colour = tuple[int, int, int]  # RGB, 0..255

# The class index of pixels that the label says nothing about. They count in no loss and in no score.
IGNORED = 255

# Class indices are uint8, and 255 is `IGNORED`.
MOST_CLASSES = 255

# A threshold halfway between the lowest and the highest value of a folder's labels.
HALF = -1.0


@dataclass(frozen=True)
class LabelScheme:
    """The rule by which label values become classes. A found scheme can be stored and used again.

    Attributes:
        format: The kind of label; "auto" finds the kind from all labels of a folder.
        classes: Number of classes K. 1 means foreground and background, or, with "auto" and "classes", not yet known.
        colours: One RGB colour per class; for a mask, background and foreground. Empty: labels are read by value.
        values: One label value per class, from class 0 on; for a mask, background and foreground. Empty: the value is
            the class index; for a mask, the folder's two values.
        ignore: Label values of pixels that count in no loss and no score.
        threshold: Mask values above it are foreground; `HALF` for halfway between the two ends; None for exact values.
        names: Names of the classes found in the label files; empty if the files name no classes.

    Raises:
        ValueError: The attributes contradict each other.
    """

    format: LabelFormat = "auto"
    classes: int = 1
    colours: tuple[Colour, ...] = ()
    values: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()
    threshold: float | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.classes <= MOST_CLASSES:
            raise UserError(f"{self.classes} classes; 1 to {MOST_CLASSES} are possible")
        if self.classes > 1 and self.format not in ("auto", "classes"):
            raise UserError(f"the label format {self.format} is for one class, not for {self.classes}")
        if self.colours and self.values:
            raise UserError("labels are read by colour or by value: give --colours or --values, not both")
        if self.colours and self.ignore:
            raise UserError("--ignore names label values; it does not fit labels in colours")
        for kind, members in (("colours", self.colours), ("values", self.values)):
            if members and not (len(set(members)) == len(members) == self._expected):
                raise UserError(
                    f"{len(set(members))} different {kind} for {self._expected} classes; "
                    "one for each class is expected, and at least two"
                )
        if both := set(self.values) & set(self.ignore):
            raise UserError(f"--ignore {min(both)} names a value that --values makes a class")
        if self.threshold is not None and (self.classes > 1 or self.format in ("instances", "classes")):
            raise UserError("--threshold-labels is for masks; objects and classes are told apart by exact values")

    @property
    def reads_values(self) -> bool:
        """True if the scheme names label values, so that labels are not read by colour."""
        return bool(self.values or self.ignore) or self.threshold is not None

    @property
    def _expected(self) -> int:
        """The number of colours or values that fits the scheme: a mask has two, background and foreground."""
        return max(2, self.classes)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The scheme that `to_json` stored. Raises ValueError for contradictions."""
        known = {field.name for field in fields(cls)}
        kept = {name: _as_tuples(value) for name, value in stored.items() if name in known}
        return cls(**kept)

    def to_json(self) -> dict[str, Any]:
        """The attributes as JSON types, for `config.json`."""
        return asdict(self)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value


AUTO = LabelScheme()


def name_classes(classes: int, names: Sequence[str] = ()) -> dict[int, str]:
    """The names of a mask's values: 0 and 255 for one class, 0 to K-1 for K classes.

    Args:
        classes: Number of classes K.
        names: One name per value, the background first; empty for "background", "foreground", "class 1" ...

    Returns:
        Value -> name, in the order of the values.

    Raises:
        ValueError: The number of names differs from the number of values.
    """
    values = (0, 255) if classes == 1 else range(classes)
    if names and len(names) != len(values):
        raise UserError(f"{len(names)} names; one each for {', '.join(map(str, values))} is expected")
    plain = ("foreground",) if classes == 1 else (f"class {index}" for index in values[1:])
    return dict(zip(values, names or ("background", *plain), strict=True))


def parse_colour(text: str) -> Colour:
    """RGB from `#rrggbb` or a CSS colour name. Raises ValueError."""
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


parse_colour.__name__ = "colour"  # argparse names it: "invalid colour value: 'x'"
