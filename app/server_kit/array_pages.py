"""The axes of an array that a client sent as a TIFF file.

Height and width are the last axes, or the last but one of an array whose last axis is 3 or 4 colours. The axes before
them count pages. Clients write arrays by tifffile, which stores pages of three or four as the colours of one page.
"""

import math
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import numpy as np

from app.decode import decode, image_problems
from app.problems import Problem
from model.images.channels import find_channel
from model.images.decoding import ImageFile
from model.images.headers import Header
from model.images.tiff_axes import array_shape
from model.inputs.net_input import NetInput
from model.weights_file import Description


@dataclass(frozen=True)
class ArrayAxes:
    """The axes of an array.

    Attributes:
        leading: Lengths of the axes that count pages; () for one page.
        planes: Number of pages that the file stores as colours of one page, or 1.
    """

    leading: tuple[int, ...]
    planes: int = 1


def axes_of(header: Header) -> ArrayAxes:
    """Returns the axes of the array in a file. For files without a shape, only the number of pages is known."""
    pages, size = header.pages, (header.height, header.width)
    if header.stack is not None:
        shape, first = array_shape(header.stack.pages), header.stack.pages[0]
        planes = first.samples if first.apart else 1
        if shape[-2:] == size and math.prod(shape[:-2]) == pages * planes:
            return ArrayAxes(shape[:-2], planes)
        if shape[-3:-1] == size and math.prod(shape[:-3]) == pages:
            return ArrayAxes(shape[:-3])
    return ArrayAxes((pages,) if pages > 1 else ())


def check_pixels(header: Header, axes: ArrayAxes, most: int) -> int:
    """Returns the pixels of all pages. Raises Problem, 422, if they are more than `most`."""
    pixels = header.pixels * axes.planes
    if pixels > most:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"The image has {pixels} pixels, more than {most} in all.")
    return pixels


def decode_array(file: ImageFile, axes: ArrayAxes, description: Description, channel: str) -> NetInput:
    """Decodes the pages of an array. Raises Problem: 400 broken, 415 not accepted, 422 no such channel."""
    if axes.planes == 1:
        return decode(file, description, channel)
    if channel:
        with image_problems():
            find_channel(channel, ("0",))
    given = decode(file, description)
    return replace(given, pages=[page[:, :, plane] for page in given.pages for plane in range(axes.planes)], places=())


def check_sizes(given: NetInput) -> None:
    """Raises Problem, 422, if the pages differ in size, so that they make no array."""
    sizes = sorted({page.shape[:2] for page in given.pages})
    if len(sizes) > 1:
        listed = ", ".join(f"{width} x {height}" for height, width in sizes[:5])
        detail = (
            f"The pages have different sizes, {listed}; pages of one size are expected. POST /segment takes others."
        )
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def joined(pages: list[np.ndarray[Any, Any]], axes: ArrayAxes) -> np.ndarray[Any, Any]:
    """Returns the array of pages, with the axes that the image has."""
    return np.stack(pages).reshape(*axes.leading, *pages[0].shape)


def place_of(page: int, axes: ArrayAxes) -> list[int]:
    """Returns the indices of a page on the axes before height and width."""
    return [int(index) for index in np.unravel_index(page, axes.leading)] if axes.leading else []
