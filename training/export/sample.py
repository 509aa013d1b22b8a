"""The image that a package shows and is tested on."""

from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from model.images.decoding import decode_image
from model.images.image_errors import ImageError
from model.inputs.preprocessing import Values
from model.outputs.overlay import draw_overlay
from model.weights_file import Description
from training.data.image_reader import ImageReader
from training.report.pictures import class_colour
from training.synthetic import cells

EXAMPLE = Path(__file__).parents[2] / "docs" / "example.png"

# Side in pixels: enough to see something, few enough for a test in a moment.
SIDE = 256


def choose(description: Description, path: Path | None, reader: ImageReader | None = None) -> Values:
    """Returns the middle of an image file with the net's channels, S x S x C, uint8 or uint16.

    S is a multiple of the net's stride. Without a file, the image is the project's example, or a synthetic one if the
    example is missing. `reader` reads the file; None for the reader that suits the net. Raises ImageError, OSError.
    """
    channels = description.architecture.in_channels
    image = description.preprocessing.arrange(
        _read(path, reader or ImageReader.suited_to(description, "")) if path else _example()
    )
    if not path and image.shape[2] != channels:
        image = cast(Values, np.repeat(image[:, :, :1], channels, axis=2))
    if image.shape[2] != channels:
        raise ImageError(f"--sample {path}: the net takes {channels} channels, the image has {image.shape[2]}")
    stride = description.unet.stride
    return _middle(image, -(-SIDE // stride) * stride)


def cover(image: Values, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """S x S x C and its S x S mask -> S x 2S x 3 uint8, RGB: image and mask, side by side."""
    colours = np.array([class_colour(value) for value in range(256)], np.uint8)
    colours[255] = 255
    shown = image[:, :, :3] if image.shape[2] >= 3 else image[:, :, 0]
    stretched = draw_overlay(shown, np.zeros(mask.shape, np.int32), np.zeros_like(mask))
    return np.concatenate([stretched, colours[mask]], axis=1)


def _read(path: Path, reader: ImageReader) -> Values:
    """The first page of a file. Raises ImageError, OSError."""
    try:
        return reader.read(path)[0]
    except ImageError as error:
        raise ImageError(f"--sample {path}: {error}") from error


def _example() -> Values:
    return decode_image(EXAMPLE.read_bytes()) if EXAMPLE.exists() else cells(2 * SIDE, np.random.default_rng(0))[0]


def _middle(image: Values, side: int) -> Values:
    """A square of the middle; an image that is smaller is mirrored at its edges."""
    below, right = (max(0, side - size) for size in image.shape[:2])
    image = cast(Values, np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric"))
    top, left = ((size - side) // 2 for size in image.shape[:2])
    return image[top : top + side, left : left + side]
