"""Checks an image and its label before they are stored: what training could not read is refused.

Shape letters: H height, W width.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from app.decode import image_problems, measure
from app.problems import Problem
from model.images.decoding import ImageFile
from model.images.encoding import encode_png
from model.inputs.preprocessing import Values

LabelKind: TypeAlias = Literal["mask", "instances", "classes"]
LabelValues: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp"}
_LABEL_FORMATS = ("PNG", "TIFF")

# Values of the foreground in masks of two values; labels of other values hold object ids.
_FOREGROUND = (1, 255, 65535)

_ID_DIGITS = 32


@dataclass(frozen=True)
class CheckedPair:
    """An image and its label, as they are stored.

    Attributes:
        id: 32 hexadecimal digits, made from the image's format, shape and pixel values.
        image: The image file as it was sent.
        suffix: The suffix of the image's format, ".png".
        label: A PNG file of one channel, 8 or 16 bits, with the values that were sent.
        kind: "mask" (two values), "instances" (object ids) or "classes" (class indices).
        classes: Number of the net's classes.
        size: Height and width in pixels.
    """

    id: str
    image: bytes
    suffix: str
    label: bytes
    kind: LabelKind
    classes: int
    size: tuple[int, int]

    def record(self) -> dict[str, JsonValue]:
        """Returns the entries of the provenance that describe the files."""
        return {
            "image": f"{self.id}{self.suffix}",
            "image_sha256": hashlib.sha256(self.image).hexdigest(),
            "label_sha256": hashlib.sha256(self.label).hexdigest(),
            "height": self.size[0],
            "width": self.size[1],
            "kind": self.kind,
            "classes": self.classes,
        }


@dataclass(frozen=True)
class MeasuredPair:
    """An image and its label whose headers are accepted; no pixels are decoded yet."""

    image: ImageFile
    label: ImageFile

    @property
    def pixels(self) -> int:
        """Pixels of both files, to reserve memory for."""
        return self.image.header.pixels + self.label.header.pixels


def measure_pair(image: bytes, label: bytes, max_pixels: int) -> MeasuredPair:
    """Reads the headers of both files.

    Raises:
        Problem: 400 broken, 415 a format that is not accepted, 422 too many pixels, several pages or channels.
    """
    return MeasuredPair(_measure_image(image, max_pixels), _measure_label(label, max_pixels))


def check_pair(pair: MeasuredPair, classes: int) -> CheckedPair:
    """Decodes both files.

    Args:
        pair: The files.
        classes: Number of the net's classes, 1 for foreground and background.

    Raises:
        Problem: 400 broken, 415 not accepted, 422 the label does not fit the image or the net.
    """
    with _part("image"), image_problems():
        pixels = pair.image.first_page()
    with _part("label"), image_problems():
        values = pair.label.stored_pages()[0]
    height, width = pixels.shape[:2]
    if values.ndim != 2 or values.dtype not in (np.uint8, np.uint16):
        raise _refused("The label must have one channel of 8 or 16 bits.")
    if values.shape != (height, width):
        sizes = f"{values.shape[1]} x {values.shape[0]} pixels, the image {width} x {height}"
        raise _refused(f"The label has {sizes}; both must have the same size.")
    kind, file_format = _kind_of(values, classes), pair.image.header.format
    return CheckedPair(
        _id_of(file_format, pixels),
        pair.image.data,
        _SUFFIXES[file_format],
        encode_png(values),
        kind,
        classes,
        (height, width),
    )


def _id_of(file_format: str, pixels: Values) -> str:
    digest = hashlib.sha256(f"{file_format} {pixels.shape} {pixels.dtype.str} ".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()[:_ID_DIGITS]


def _measure_image(data: bytes, max_pixels: int) -> ImageFile:
    with _part("image"):
        file = measure(data, max_pixels)
    header = file.header
    if header.format not in _SUFFIXES:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Part image: {header.format} is not stored; send PNG or TIFF."
        )
    if header.pages > 1:
        raise _refused(f"The image has {header.pages} pages; send the page that the label is for.")
    if header.channels:
        raise _refused(f"The image has {len(header.channels)} channels; send the channel that the net takes.")
    return file


def _measure_label(data: bytes, max_pixels: int) -> ImageFile:
    with _part("label"):
        file = measure(data, max_pixels)
    header = file.header
    if header.format not in _LABEL_FORMATS or header.lossy:
        found = header.lossy or header.format
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Part label: {found} is not accepted; send PNG or TIFF.")
    if header.pages > 1 or header.channels:
        raise _refused("The label must have one page and one channel.")
    return file


def _kind_of(values: LabelValues, classes: int) -> LabelKind:
    """Returns what the values mean. Raises Problem, 422: a value is no class of the net."""
    present = np.flatnonzero(np.bincount(values.ravel())).tolist()
    if classes > 1:
        if present[-1] >= classes:
            raise _refused(f"The label has the value {present[-1]}; the net's classes are 0 to {classes - 1}.")
        return "classes"
    foreground = [value for value in present if value]
    return "mask" if not foreground or (len(foreground) == 1 and foreground[0] in _FOREGROUND) else "instances"


def _refused(detail: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


@contextmanager
def _part(name: str) -> Iterator[None]:
    """Names the part of the form in the details of problems."""
    try:
        yield
    except Problem as problem:
        raise Problem(problem.status, f"Part {name}: {problem.detail}", problem.headers) from problem
