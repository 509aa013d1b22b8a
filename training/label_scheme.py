"""How labels are to be read, and what their values, and those of the mask, are called."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from PIL import ImageColor

LabelFormat = Literal["mask", "inverted", "instances"]

LABEL_FORMATS: tuple[LabelFormat, ...] = get_args(LabelFormat)

Colour = tuple[int, int, int]  # RGB, 0..255

# As many as the values of a mask tell apart; 255 is the foreground of one class.
MOST_CLASSES = 255


@dataclass(frozen=True)
class LabelScheme:
    """How labels are to be read.

    `classes`: 1 for foreground and background, which `format` tells apart; of K > 1, values are the indices 0..K-1, or
    `colours` are those of the classes, one each. Raises ValueError for what does not go together.
    """

    format: LabelFormat = "mask"
    classes: int = 1
    colours: tuple[Colour, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.classes <= MOST_CLASSES:
            raise ValueError(f"{self.classes} classes; 1 to {MOST_CLASSES} are possible")
        if self.classes > 1 and self.format != "mask":
            raise ValueError(f"the label format {self.format} is for one class")
        if self.colours and (self.classes == 1 or len(set(self.colours)) != self.classes):
            found = f"{len(set(self.colours))} different colours for {self.classes} classes"
            raise ValueError(f"{found}; one a class, of two or more, are expected")


MASKS = LabelScheme()  # of one class: foreground and background


def name_classes(classes: int, names: Sequence[str] = ()) -> dict[int, str]:
    """What a mask's values mean: 0 and 255 of one class, 0..K-1 of K; `names`, one a value, or plain ones.

    Raises ValueError if there are too many or too few.
    """
    values = (0, 255) if classes == 1 else range(classes)
    if names and len(names) != len(values):
        raise ValueError(f"{len(names)} names; one each for {', '.join(map(str, values))} is expected")
    plain = ("foreground",) if classes == 1 else (f"class {index}" for index in values[1:])
    return dict(zip(values, names or ("background", *plain), strict=True))


def parse_colour(text: str) -> Colour:
    """From `#rrggbb` or a name that CSS has. Raises ValueError."""
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


parse_colour.__name__ = "colour"  # argparse names it: "invalid colour value: 'x'"
