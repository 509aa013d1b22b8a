"""Random changes of a training sample: one warp for all geometry, then changes of contrast, sharpness and noise.

Shape letters: C channels, H height, W width of the image, S side of the crop.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Planes = NDArray[np.float32]
Label = NDArray[np.uint8]
Random = np.random.Generator

# Pixels between the points of the displacement grid. With the default deviation the strain is that of the U-Net paper's
# 3 x 3 grid; a stronger one smears textures into streaks that look like membranes.
ELASTIC_SPACING = 64


class Augmentation(BaseModel):
    """How strongly samples are changed; what is 0 (or a `scale` of 1) is left out. Turns and mirrors always happen.

    `scale`: largest zoom, in and out. `elastic`: standard deviation of the displacements, in pixels.
    `blur`: largest standard deviation of the Gaussian, in pixels. `gamma`: the exponent lies in exp(-gamma..gamma).
    `noise`: largest standard deviation, `brightness`: largest shift, both in units of the crop's own deviation.
    `contrast`: the factor lies in exp(-contrast..contrast). `blotches`: how far the grey of blotches, which
    hide parts of the crop, may be from its mean, in its deviations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: float = Field(1.5, ge=1)
    elastic: float = Field(4.0, ge=0)
    blur: float = Field(2.5, ge=0)
    gamma: float = Field(0.8, ge=0)
    noise: float = Field(0.8, ge=0)
    brightness: float = Field(0.4, ge=0)
    contrast: float = Field(0.35, ge=0)
    blotches: float = Field(2.0, ge=0)


def flips(planes: Planes, label: Label, rng: Random) -> tuple[Planes, Label]:
    """The tutorial's: none, left-right, up-down or both, one in four each. C x H x W and H x W, the same shapes out."""
    horizontal, vertical = rng.integers(2, size=2)
    step = (slice(None, None, -1 if vertical else 1), slice(None, None, -1 if horizontal else 1))
    return np.ascontiguousarray(planes[(slice(None), *step)]), np.ascontiguousarray(label[step])


@dataclass(frozen=True)
class Warp:
    """A crop of side S, rotated, flipped, zoomed and bent in one interpolation.

    `rows`, `columns`: the window of the image that it is cut from; `x`, `y`: S x S float32, where in the window each
    pixel comes from. Past the image's edges it is mirrored.
    """

    rows: slice
    columns: slice
    x: NDArray[np.float32]
    y: NDArray[np.float32]

    def planes(self, window: Planes) -> Planes:
        """The window, C x H x W -> C x S x S, linear."""
        crops = [cv2.remap(plane, self.x, self.y, cv2.INTER_LINEAR, borderMode=_BORDER) for plane in window]
        return np.stack(crops)

    def label(self, window: Label) -> Label:
        """The window, H x W -> S x S, the nearest pixels."""
        return cv2.remap(window, self.x, self.y, cv2.INTER_NEAREST, borderMode=_BORDER)  # type: ignore[return-value]


_BORDER = cv2.BORDER_REFLECT_101


def draw_warp(height: int, width: int, side: int, strength: Augmentation, rng: Random) -> Warp:
    """A random warp of an image H x W to S x S.

    The elastic part is a coarse grid of random displacements, as in Ronneberger et al. 2015, section 3.1.
    """
    angle, zoom = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-1, 1) * np.log(strength.scale))
    mirror = rng.choice((-1.0, 1.0))
    centre_y = rng.uniform(min(side, height) / 2, height - min(side, height) / 2)
    centre_x = rng.uniform(min(side, width) / 2, width - min(side, width) / 2)

    y, x = np.mgrid[:side, :side].astype(np.float32) - np.float32((side - 1) / 2)
    bent_y, bent_x = (strength.elastic * _smooth_noise(side, ELASTIC_SPACING, rng) for _ in range(2))
    y, x = y + bent_y, mirror * (x + bent_x)
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    rows, from_y = _window(sine * x + cosine * y + centre_y - 0.5, height)
    columns, from_x = _window(cosine * x - sine * y + centre_x - 0.5, width)
    return Warp(rows, columns, from_x, from_y)


def _smooth_noise(side: int, spacing: float, rng: Random) -> NDArray[np.float32]:
    """S x S float32: standard normal numbers on a grid of about that spacing in pixels, and smooth between them."""
    points = max(2, round(side / spacing))
    numbers = rng.standard_normal((points, points), np.float32)
    smooth: NDArray[np.float32] = cv2.resize(numbers, (side, side), interpolation=cv2.INTER_CUBIC)  # type: ignore[assignment]
    return smooth


def _window(places: NDArray[np.floating], length: int) -> tuple[slice, NDArray[np.float32]]:
    """The part of an axis that interpolation at `places` reads (mirrored places lie in it, too), and the places in it.

    Without it a crop of a large image would cost as much as the image.
    """
    first, last = int(np.floor(places.min())) - 1, int(np.ceil(places.max())) + 2
    window = slice(max(0, first), min(length, last))
    return window, (places - window.start).astype(np.float32)


def photometric(planes: Planes, strength: Augmentation, rng: Random) -> Planes:
    """C x S x S float32 -> the same: blur, gamma, noise, brightness and contrast, blotches, each at times.

    Gamma keeps mean and deviation, as in nnU-Net (Isensee et al. 2021, supplementary note 4).
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
    return planes.astype(np.float32, copy=False)


def _blotched(planes: Planes, strength: float, rng: Random) -> Planes:
    """Hides parts under blotches of one grey, more or less opaque, like dirt, holes and stains on a section.

    What lies beneath has to be told from what is around: a membrane goes on behind a hole, a stain makes none.
    """
    field = _smooth_noise(planes.shape[-1], rng.uniform(8, 40), rng)
    opacity = rng.uniform(0.3, 1) * ((field - rng.uniform(0.6, 1.3)) / 0.3).clip(0, 1)
    grey = planes.mean(axis=(1, 2), keepdims=True) + rng.uniform(-1, 1) * strength * planes.std(
        axis=(1, 2), keepdims=True
    )
    blotched: Planes = planes * (1 - opacity) + grey * opacity
    return blotched


def _gamma(planes: Planes, exponent: float) -> Planes:
    mean, deviation, low = planes.mean(), planes.std(), planes.min()
    curved = ((planes - low) / max(float(planes.max() - low), 1e-6)) ** np.float32(exponent)
    restored: Planes = (curved - curved.mean()) * (deviation / max(float(curved.std()), 1e-6)) + mean
    return restored
