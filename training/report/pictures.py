"""Pictures of one held-out image for the report: the image, its label, the probabilities and what is wrong.

Shape letters: H x W of the image, h x w of the picture made of it.
"""

import base64
from dataclasses import dataclass
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from model.images.encoding import encode_png
from model.inputs.preprocessing import Values
from model.outputs.colours import colour
from training.data.folder import IGNORED, Sample
from training.scoring.class_scores import ClassMap
from training.scoring.object_scores import foreground_of
from training.scoring.pixel_scores import Label, Probabilities

Picture = NDArray[np.uint8]
Grid = TypeVar("Grid", bound=NDArray[np.generic])

LONGEST_SIDE = 512  # pixels of a picture
DARKEST, BRIGHTEST = 0.5, 99.5  # percentiles of an image that become black and white

# Of Okabe and Ito's palette for all kinds of colour vision; apart in lightness too. RGB.
WRONG_FOREGROUND = (213, 94, 0)  # vermilion
WRONG_BACKGROUND = (86, 180, 233)  # sky blue
DIMMED = 0.5  # brightness of the image under the errors, so that they stand out
NOT_LABELLED = 128  # grey of pixels that the label says nothing about


@dataclass(frozen=True)
class Pictures:
    """Data URIs of PNG pictures, all of one size. `found`: the probabilities, or the classes of a net of several."""

    image: str
    label: str
    found: str
    errors: str


def draw_pictures(sample: Sample, probabilities: Probabilities, threshold: float) -> Pictures:
    """Draws the pictures of an image for a net of one class.

    Args:
        sample: The image and its label; foreground is drawn white.
        probabilities: H x W float32 in 0..1; 1 is drawn white.
        threshold: Lowest probability of the foreground.
    """
    image = stretched(shrunk(sample.pixels))
    label, foreground = foreground_of(sample), probabilities >= np.float32(threshold)
    drawn = np.where(sample.counted, _white_where(label), np.uint8(NOT_LABELLED))
    return Pictures(
        image=_data_uri(image),
        label=_data_uri(shrunk(drawn)),
        found=_data_uri(np.rint(shrunk(probabilities) * 255).astype(np.uint8)),
        errors=_data_uri(_coloured_errors(image, foreground & ~label & sample.counted, label & ~foreground)),
    )


def draw_class_pictures(sample: Sample, found: ClassMap) -> Pictures:
    """Draws the pictures of an image for a net of several classes, whose errors all have one colour.

    Args:
        sample: The image and its label; each class is drawn in its colour, the background black.
        found: H x W class indices.
    """
    image = stretched(shrunk(sample.pixels))
    nothing = np.zeros_like(found, np.bool_)
    return Pictures(
        image=_data_uri(image),
        label=_data_uri(shrunk(_in_colours(sample.label))),
        found=_data_uri(shrunk(_in_colours(found))),
        errors=_data_uri(_coloured_errors(image, (found != sample.label) & sample.counted, nothing)),
    )


def class_colour(index: int) -> tuple[int, int, int]:
    """Returns RGB: black for the background, grey for pixels that the label says nothing about."""
    if index == IGNORED:
        return NOT_LABELLED, NOT_LABELLED, NOT_LABELLED
    return colour(index) if index else (0, 0, 0)


def _in_colours(classes: ClassMap) -> Picture:
    return np.array([class_colour(index) for index in range(256)], np.uint8)[classes]


def shrunk(pixels: Grid) -> Grid:
    """H x W or H x W x C -> h x w or h x w x C of the same type and proportions, `LONGEST_SIDE` at most."""
    height, width = pixels.shape[:2]
    factor = min(1.0, LONGEST_SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cast(Grid, cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA))


def stretched(pixels: Values) -> Picture:
    """Stretches h x w or h x w x C of any type to h x w or h x w x 3 uint8 over the whole range, without transparency.

    All colours are stretched alike, so that hues stay.
    """
    visible = pixels[:, :, :3] if pixels.ndim == 3 else pixels
    low, high = np.percentile(visible, (DARKEST, BRIGHTEST))
    least = 1 if visible.dtype.kind == "u" else 1 / 65535
    scaled = (visible.astype(np.float32) - low) * (255 / max(high - low, least))
    picture: Picture = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return picture


def _coloured_errors(image: Picture, wrong_foreground: Label, wrong_background: Label) -> Picture:
    """The image in dark grey, the wrong pixels, H x W bool, coloured over it: h x w x 3 uint8."""
    grey = image.mean(axis=2) if image.ndim == 3 else image.astype(np.float64)
    picture: NDArray[np.float64] = np.repeat(DIMMED * grey[:, :, None], 3, axis=2)
    for wrong, rgb in ((wrong_foreground, WRONG_FOREGROUND), (wrong_background, WRONG_BACKGROUND)):
        # a line one pixel wide may split a cell: in a shrunk picture it covers little, and shall still be seen
        share = shrunk(_white_where(wrong)).astype(np.float64) / 255
        opacity = np.minimum(1, 3 * share)[:, :, None]
        picture = (1 - opacity) * picture + opacity * np.array(rgb)
    coloured: Picture = np.rint(picture).astype(np.uint8)
    return coloured


def _white_where(true: Label) -> Picture:
    return true.astype(np.uint8) * np.uint8(255)


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(picture)).decode()
