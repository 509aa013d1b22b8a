"""Label files: how their pixels say what is foreground.

Shape letters: H height, W width.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.images import ImageError, decode_pages, read_header
from model.preprocessing import Pixels

LabelFormat = Literal["mask", "inverted", "instances"]

LABEL_FORMATS: tuple[LabelFormat, ...] = get_args(LabelFormat)

# Pixels, in all, between two objects that touch: one taken from either side.
BORDER = 2

_MASK_VALUES = (0, 1, 255, 65535)
_VALUES_SHOWN = 6


class LabelError(ValueError):
    """A label whose pixels do not say what is foreground. The message names the values; the caller knows the file."""


@dataclass(frozen=True, eq=False)
class LabelPage:
    """One page of a label file as stored: H x W or H x W x C, uint8 or uint16; of a palette image the indices."""

    pixels: Pixels
    palette: bool
    lossy: bool


@dataclass(frozen=True)
class Encoding:
    """What was found in a label: its highest value, and how many objects, of which some may be lost to borders."""

    label_format: LabelFormat
    bits: int
    palette: bool
    highest: int
    objects: int = 0
    lost: int = 0


def decode_labels(data: bytes) -> list[LabelPage]:
    """Every page of a label file. Raises ImageError, UnsupportedImage."""
    kind, pages = read_header(data).format, decode_pages(data)
    indices = _palette_indices(data, kind, len(pages)) if kind in ("PNG", "TIFF", "BMP") else [None] * len(pages)
    return [
        LabelPage(pixels if stored is None else stored, palette=stored is not None, lossy=kind == "JPEG")
        for pixels, stored in zip(pages, indices, strict=True)
    ]


def to_foreground(
    page: LabelPage, label_format: LabelFormat = "mask", border: int = BORDER
) -> tuple[NDArray[np.bool_], Encoding]:
    """H x W bool, True = foreground, and what was found. Raises LabelError if the page does not fit the format.

    "mask": 0 is background and 1, 255 or 65535 foreground (of a palette, index 0 and any other one); "inverted": the
    other way round; "instances": 0 is background and each other value an object, see `separate` for `border`.
    """
    values = _single_channel(page.pixels)
    encoding = Encoding(label_format, 8 * values.itemsize, page.palette, int(values.max()))
    if label_format != "instances":
        _check_mask(values, page)
        return (values == 0) if label_format == "inverted" else (values > 0), encoding
    if page.lossy:
        raise LabelError("JPEG does not keep the ids of objects; PNG or TIFF is expected")
    foreground = separate(values, border)
    objects, left = (int(np.count_nonzero(np.unique(ids))) for ids in (values, values[foreground]))
    return foreground, Encoding(label_format, encoding.bits, page.palette, encoding.highest, objects, objects - left)


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


def _single_channel(pixels: Pixels) -> Pixels:
    """H x W x C -> H x W, if nothing is lost by it. Raises LabelError."""
    if pixels.ndim == 2:
        return pixels
    grey = pixels[:, :, 0]
    if any((pixels[:, :, channel] != grey).any() for channel in (1, 2)):
        raise LabelError("a label in colours; one channel, or three equal ones, are expected")
    if pixels.shape[2] == 4 and (pixels[:, :, 3] != pixels[0, 0, 3]).any():
        raise LabelError("a label of varying transparency; no alpha channel, or a constant one, is expected")
    return grey


def _check_mask(values: Pixels, page: LabelPage) -> None:
    """Raises LabelError unless there are no values but 0 and one that stands for the other side."""
    found = np.unique(values)
    if np.count_nonzero(found) <= 1 and (page.palette or found[-1] in _MASK_VALUES):
        return
    shown = ", ".join(map(str, found[:_VALUES_SHOWN])) + (", ..." if len(found) > _VALUES_SHOWN else "")
    expected = "index 0 and one other" if page.palette else "0 and 255 (or 0 and 1, or 0 and 65535)"
    raise LabelError(
        f"a label with the {'palette indices' if page.palette else 'values'} {shown}; {expected} are expected"
        + _hint(len(found), page)
    )


def _hint(values: int, page: LabelPage) -> str:
    if page.lossy:
        return "; JPEG blurs a label's values, PNG and TIFF keep them"
    if values > 2:
        return "; if they are ids of objects, `--label-format instances` turns them into objects with borders"
    return ""
