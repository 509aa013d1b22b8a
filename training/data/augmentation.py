"""Random augmentation of a training sample: one warp for the geometry, then contrast, sharpness, noise and colour.

Shape letters: C channels, H height and W width of the image, S height and T width of the crop.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Planes = NDArray[np.float32]
Label = NDArray[np.uint8]
Shape = tuple[int, int]
Random = np.random.Generator

# Pixels between the points of the displacement grid. With the default deviation the strain is that of the U-Net paper's
# 3 x 3 grid; a stronger one smears textures into streaks that look like membranes.
ELASTIC_SPACING = 64


class Augmentation(BaseModel):
    """Strength of each random change. A value of 0 (a `scale` of 1) turns the change off.

    Attributes:
        rotation: Largest angle in degrees, in both directions; 180 allows every orientation.
        mirror: Mirrors left and right in half of the samples.
        scale: Largest zoom, in and out.
        elastic: Standard deviation of the displacements in pixels.
        blur: Largest standard deviation of the Gaussian in pixels.
        gamma: The exponent is drawn from exp(-gamma) to exp(gamma).
        noise: Largest standard deviation of the noise, in standard deviations of the crop.
        brightness: Largest shift, in standard deviations of the crop.
        contrast: The factor is drawn from exp(-contrast) to exp(contrast).
        blotches: Largest difference between the grey of a blotch and the crop's mean, in standard deviations.
        colour: Strength of independent changes of the channels and of the saturation; only for three channels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation: float = Field(180.0, ge=0, le=180)
    mirror: bool = True
    scale: float = Field(1.5, ge=1)
    elastic: float = Field(4.0, ge=0)
    blur: float = Field(2.5, ge=0)
    gamma: float = Field(0.8, ge=0)
    noise: float = Field(0.8, ge=0)
    brightness: float = Field(0.4, ge=0)
    contrast: float = Field(0.35, ge=0)
    blotches: float = Field(2.0, ge=0)
    colour: float = Field(0.0, ge=0)


def flips(planes: Planes, label: Label, rng: Random) -> tuple[Planes, Label]:
    """The tutorial's: none, left-right, up-down or both, one in four each. C x H x W and H x W, the same shapes out."""
    horizontal, vertical = rng.integers(2, size=2)
    step = (slice(None, None, -1 if vertical else 1), slice(None, None, -1 if horizontal else 1))
    return np.ascontiguousarray(planes[(slice(None), *step)]), np.ascontiguousarray(label[step])


@dataclass(frozen=True)
class Warp:
    """A crop of S x T pixels, rotated, mirrored, zoomed and bent in one interpolation.

    Attributes:
        rows: Rows of the window of the image that the crop is cut from.
        columns: Columns of the window.
        x: S x T float32, the column in the window that each pixel comes from.
        y: S x T float32, the row in the window. Beyond its edges the image is continued by reflection.
    """

    rows: slice
    columns: slice
    x: NDArray[np.float32]
    y: NDArray[np.float32]

    def planes(self, window: Planes) -> Planes:
        """Crops the window, C x H x W -> C x S x T, with linear interpolation."""
        crops = [cv2.remap(plane, self.x, self.y, cv2.INTER_LINEAR, borderMode=_BORDER) for plane in window]
        return np.stack(crops)

    def label(self, window: Label) -> Label:
        """Crops the window's label, H x W -> S x T, with nearest-neighbour interpolation."""
        return cv2.remap(window, self.x, self.y, cv2.INTER_NEAREST, borderMode=_BORDER)  # type: ignore[return-value]


_BORDER = cv2.BORDER_REFLECT_101


def draw_warp(image: Shape, crop: Shape, strength: Augmentation, rng: Random, near: Shape | None = None) -> Warp:
    """Draws a random warp of an image of H x W pixels to a crop of S x T pixels.

    The elastic part is a coarse grid of random displacements, as in Ronneberger et al. 2015, section 3.1.

    Args:
        image: H and W.
        crop: S and T.
        strength: The changes and their strengths.
        rng: The random numbers.
        near: Row and column of a pixel that the crop must contain, before rotation and zoom; None for any crop.
    """
    angle = (
        rng.uniform(0, 2 * np.pi) if strength.rotation == 180 else np.deg2rad(strength.rotation) * rng.uniform(-1, 1)
    )
    zoom = np.exp(rng.uniform(-1, 1) * np.log(strength.scale))
    mirror = rng.choice((-1.0, 1.0)) if strength.mirror else 1.0
    pixels: tuple[int | None, int | None] = near or (None, None)
    centre_y, centre_x = (_centre(*axis, rng) for axis in zip(image, crop, pixels, strict=True))

    y, x = np.mgrid[: crop[0], : crop[1]].astype(np.float32)
    y -= np.float32((crop[0] - 1) / 2)
    x -= np.float32((crop[1] - 1) / 2)
    bent_y, bent_x = (strength.elastic * _smooth_noise(crop, ELASTIC_SPACING, rng) for _ in range(2))
    y, x = y + bent_y, mirror * (x + bent_x)
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    rows, from_y = _window(sine * x + cosine * y + centre_y - 0.5, image[0])
    columns, from_x = _window(cosine * x - sine * y + centre_x - 0.5, image[1])
    return Warp(rows, columns, from_x, from_y)


def _centre(length: int, side: int, pixel: int | None, rng: Random) -> float:
    """Draws the centre of a crop along one axis, so that the crop is inside the image and contains `pixel`."""
    margin = min(side, length) / 2
    low, high = margin, length - margin
    if pixel is not None:
        low, high = (min(max(low, pixel + 0.5 + sign * margin), high) for sign in (-1, 1))
    return float(rng.uniform(low, high))


def _smooth_noise(shape: Shape, spacing: float, rng: Random) -> NDArray[np.float32]:
    """Draws smooth noise, S x T float32: standard normal on a grid of about `spacing` pixels, cubic in between."""
    numbers = rng.standard_normal([max(2, round(side / spacing)) for side in shape], np.float32)
    smooth: NDArray[np.float32] = cv2.resize(numbers, shape[::-1], interpolation=cv2.INTER_CUBIC)  # type: ignore[assignment]
    return smooth


def _window(places: NDArray[np.floating], length: int) -> tuple[slice, NDArray[np.float32]]:
    """The part of an axis that interpolation at `places` reads (mirrored places lie in it, too), and the places in it.

    Without it a crop of a large image would cost as much as the image.
    """
    first, last = int(np.floor(places.min())) - 1, int(np.ceil(places.max())) + 2
    window = slice(max(0, first), min(length, last))
    return window, (places - window.start).astype(np.float32)


def photometric(planes: Planes, strength: Augmentation, rng: Random) -> Planes:
    """Changes blur, gamma, noise, brightness, contrast, blotches and colour, each in a part of the samples.

    Gamma keeps mean and standard deviation, as in nnU-Net (Isensee et al. 2021, supplementary note 4).

    Args:
        planes: C x S x T float32.
        strength: The changes and their strengths.
        rng: The random numbers.

    Returns:
        C x S x T float32.
    """
    spread = max(float(planes.std()), 1e-6)
    if strength.blur and rng.random() < 0.3:
        sigma = rng.uniform(0.3, 1) * strength.blur
        planes = np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in planes])
    if strength.gamma and rng.random() < 0.5:
        planes = _gamma(planes, np.exp(rng.uniform(-1, 1) * strength.gamma))
    if strength.noise and rng.random() < 0.5:
        planes = planes + spread * rng.uniform(0, strength.noise) * rng.standard_normal(planes.shape, np.float32)
    if rng.random() < 0.5:
        mean, factor = planes.mean(dtype=np.float64), np.exp(rng.uniform(-1, 1) * strength.contrast)
        planes = (planes - mean) * factor + mean + spread * rng.uniform(-1, 1) * strength.brightness
    if strength.blotches and rng.random() < 0.5:
        planes = _blotched(planes, strength.blotches, rng)
    if strength.colour and len(planes) == 3:
        planes = _recoloured(planes, strength.colour, rng)
    return planes.astype(np.float32, copy=False)


def _blotched(planes: Planes, strength: float, rng: Random) -> Planes:
    """Hides parts under opaque or translucent blotches of one grey, like dirt, holes and stains on a section.

    The net learns to infer hidden structures from their surroundings: a membrane continues behind a hole.
    """
    field = _smooth_noise((planes.shape[1], planes.shape[2]), rng.uniform(8, 40), rng)
    opacity = rng.uniform(0.3, 1) * ((field - rng.uniform(0.6, 1.3)) / 0.3).clip(0, 1)
    grey = planes.mean(axis=(1, 2), keepdims=True) + rng.uniform(-1, 1) * strength * planes.std(
        axis=(1, 2), keepdims=True
    )
    blotched: Planes = planes * (1 - opacity) + grey * opacity
    return blotched


def _recoloured(planes: Planes, strength: float, rng: Random) -> Planes:
    """Changes contrast and brightness of each channel on its own, then the saturation, 3 x S x T."""
    mean, spread = planes.mean(axis=(1, 2), keepdims=True), planes.std(axis=(1, 2), keepdims=True)
    contrast, shift = (strength / 2 * rng.uniform(-1, 1, (3, 1, 1)) for _ in range(2))
    planes = (planes - mean) * np.exp(contrast) + mean + shift * spread
    grey = planes.mean(axis=0, keepdims=True)
    recoloured: Planes = grey + (planes - grey) * np.exp(strength * rng.uniform(-1, 1))
    return recoloured


def _gamma(planes: Planes, exponent: float) -> Planes:
    mean, deviation, low = planes.mean(), planes.std(), planes.min()
    curved = ((planes - low) / max(float(planes.max() - low), 1e-6)) ** np.float32(exponent)
    restored: Planes = (curved - curved.mean()) * (deviation / max(float(curved.std()), 1e-6)) + mean
    return restored
