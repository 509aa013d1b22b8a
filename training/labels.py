"""Label files: how their pixels say what is foreground, or of which class.

Shape letters: H height, W width.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.headers import read_header
from model.image_errors import ImageError
from model.images import decode_pages
from model.preprocessing import Pixels
from training.label_scheme import MASKS, MOST_CLASSES, Colour, LabelScheme

# Pixels, in all, between two objects that touch: one taken from either side.
BORDER = 2

_MASK_VALUES = (0, 1, 255, 65535)
_VALUES_SHOWN = 6


class LabelError(ValueError):
    """A label whose pixels do not say what they are of. The message names the values; the caller knows the file."""


@dataclass(frozen=True, eq=False)
class LabelPage:
    """One page of a label file: pixels H x W or H x W x C, uint8 or uint16.

    `indices`: H x W, of an image with a palette that says more than grey levels. `lossy`: see `Header`.
    """

    pixels: Pixels
    indices: NDArray[np.uint8] | None
    lossy: str


@dataclass(frozen=True)
class Encoding:
    """What was found in a label: its highest value, and how many objects, of which some may be lost to borders.

    `palette`: whether values are indices of one.
    """

    scheme: LabelScheme
    bits: int
    palette: bool
    highest: int
    objects: int = 0
    lost: int = 0


def decode_labels(data: bytes) -> list[LabelPage]:
    """Every page of a label file. Raises ImageError, UnsupportedImage."""
    header, pages = read_header(data), decode_pages(data)
    kind = header.format
    indices = _palette_indices(data, kind, len(pages)) if kind in ("PNG", "TIFF", "BMP") else [None] * len(pages)
    return [LabelPage(*page, lossy=header.lossy) for page in zip(pages, indices, strict=True)]


def read_label(
    page: LabelPage, scheme: LabelScheme = MASKS, border: int = BORDER
) -> tuple[NDArray[np.uint8], Encoding]:
    """H x W class indices, of one class 1 = foreground, and what was found. Raises LabelError if the page does not fit.

    "mask": 0 is background and 1, 255 or 65535 foreground (of a palette, index 0 and any other one); "inverted": the
    other way round; "instances": 0 is background and each other value an object, see `separate` for `border`.
    """
    if page.lossy and (scheme.classes > 1 or scheme.format == "instances"):
        kept = "classes" if scheme.classes > 1 else "ids of objects"
        raise LabelError(f"{page.lossy} does not keep the {kept}; PNG or TIFF is expected")
    if scheme.colours:
        label = _classes_by_colour(page.pixels, scheme.colours)
        return label, Encoding(scheme, 8, False, int(label.max()))
    values, palette = _single_channel(page) if page.indices is None else page.indices, page.indices is not None
    encoding = Encoding(scheme, 8 * values.itemsize, palette, int(values.max()))
    if scheme.format == "instances":
        foreground = separate(values, border)
        objects, left = (int(np.count_nonzero(np.unique(ids))) for ids in (values, values[foreground]))
        return foreground.view(np.uint8), replace(encoding, objects=objects, lost=objects - left)
    if scheme.classes > 1:
        _check_classes(values, scheme.classes)
        return values.astype(np.uint8), encoding
    _check_mask(values, page)
    return ((values == 0) if scheme.format == "inverted" else (values > 0)).view(np.uint8), encoding


def separate(ids: Pixels, border: int = BORDER) -> NDArray[np.bool_]:
    """Ids H x W (0 = background, each other value an object) -> H x W bool, True = in an object, not on a border.

    `border`: pixels, at least 1, cleared between two objects that touch; an odd one is taken from the higher id. The
    4-connected components of the result never join two ids. The edge towards the background stays where it is.
    """
    if border < 1:
        raise ValueError(f"a border of {border} pixels; at least 1 is expected")
    background_highest = np.where(ids == 0, np.iinfo(ids.dtype).max, ids)
    lowest = cv2.erode(background_highest, _disc(border - border // 2))
    highest = cv2.dilate(ids, _disc(border // 2))
    foreground: NDArray[np.bool_] = (ids > 0) & (lowest == ids) & (highest == ids)
    return foreground


def _disc(radius: int) -> cv2.typing.MatLike:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _palette_indices(data: bytes, kind: str, pages: int) -> list[NDArray[np.uint8] | None]:
    """The indices H x W of each page; None where it has no palette, or one whose colours say the same."""
    try:
        with Image.open(BytesIO(data), formats=[kind]) as image:
            found: list[NDArray[np.uint8] | None] = []
            for page in range(pages):
                image.seek(page)
                colours = np.reshape(image.getpalette() or [], (-1, 3))
                found.append(np.array(image) if image.mode == "P" and not _is_grey(colours) else None)
            return found
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"The {kind} file is broken or truncated.") from error


def _is_grey(colours: NDArray[np.int_]) -> bool:
    """Whether a palette, N x 3, is the grey levels in order, or black and white: an image that was grey before."""
    if (colours != colours[:, :1]).any():
        return False
    levels = colours[:, 0]
    return set(levels) == {0, 255} or bool((levels == np.arange(len(levels))).all())


def _single_channel(page: LabelPage) -> Pixels:
    """H x W x C -> H x W, if nothing is lost by it. Raises LabelError."""
    if page.pixels.ndim == 2:
        return page.pixels
    colours = _opaque(page.pixels)
    grey = colours[:, :, 0]
    if (colours != colours[:, :, :1]).any():
        expected = "one channel, or three equal ones, are expected, or `--colours`, one for each class"
        raise LabelError(f"a label in colours; {_blurred(page.lossy) if page.lossy else expected}")
    return grey


def _blurred(lossy: str) -> str:
    return f"{lossy} blurs a label's values, PNG and TIFF keep them"


def _opaque(pixels: Pixels) -> Pixels:
    """H x W x 3 or 4 -> H x W x 3. Raises LabelError if a pixel is more transparent than others."""
    if pixels.shape[2] == 4 and (pixels[:, :, 3] != pixels[0, 0, 3]).any():
        raise LabelError("a label of varying transparency; no alpha channel, or a constant one, is expected")
    return pixels[:, :, :3]


def _classes_by_colour(pixels: Pixels, colours: tuple[Colour, ...]) -> NDArray[np.uint8]:
    """H x W or H x W x C, 8 bits -> H x W: the place of each pixel's colour. Raises LabelError for other colours."""
    if pixels.dtype != np.uint8:
        raise LabelError("a label of 16 bits; colours are of 8 bits a channel")
    rgb = np.dstack([pixels] * 3) if pixels.ndim == 2 else _opaque(pixels)
    label, known = np.zeros(rgb.shape[:2], np.uint8), np.zeros(rgb.shape[:2], np.bool_)
    for index, colour in enumerate(colours):
        here = (rgb == np.array(colour, np.uint8)).all(axis=2)
        label[here], known[here] = index, True
    if not known.all():
        found, expected = _listed(map(_hex, np.unique(rgb[~known], axis=0))), _listed(map(_hex, colours))
        raise LabelError(f"a label with the colours {found}, which no class has; {expected} are expected")
    return label


def _hex(colour: Iterable[int]) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in colour)


def _listed(items: Iterable[object]) -> str:
    texts = list(map(str, items))
    return ", ".join(texts[:_VALUES_SHOWN]) + (", ..." if len(texts) > _VALUES_SHOWN else "")


def _check_classes(values: Pixels, classes: int) -> None:
    """Raises LabelError for values past the last class."""
    found = np.unique(values)
    if found[-1] >= classes:
        raise LabelError(f"a label with the values {_listed(found)}; 0 to {classes - 1} are expected")


def _check_mask(values: Pixels, page: LabelPage) -> None:
    """Raises LabelError unless there are no values but 0 and one that stands for the other side."""
    found = np.unique(values)
    if np.count_nonzero(found) <= 1 and (page.indices is not None or found[-1] in _MASK_VALUES):
        return
    kind, expected = "values", "0 and 255 (or 0 and 1, or 0 and 65535)"
    if page.indices is not None:
        kind, expected = "palette indices", "index 0 and one other"
    raise LabelError(f"a label with the {kind} {_listed(found)}; {expected} are expected{_hint(found, page)}")


def _hint(found: NDArray[Any], page: LabelPage) -> str:
    if page.lossy:
        return f"; {_blurred(page.lossy)}"
    if len(found) > 2:
        classes = (
            f"; if they are classes, a net is trained on them with `--classes {found[-1] + 1}`"
            if found[-1] < MOST_CLASSES
            else ""
        )
        return "; if they are ids of objects, `--label-format instances` turns them into objects with borders" + classes
    return ""
