"""Random changes of a training sample: one warp for all geometry, then changes of contrast, sharpness and noise.

Shape letters: C channels, H height, W width of the image, S side of the crop.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]
Label = NDArray[np.bool_]
Random = np.random.Generator

SCALE = 1.25  # largest zoom, in and out
ELASTIC_SPACING = 32  # pixels between the points of the displacement grid
ELASTIC_SIGMA = 3.0  # pixels, standard deviation of their displacement


def flips(planes: Planes, label: Label, rng: Random) -> tuple[Planes, Label]:
    """The tutorial's: none, left-right, up-down or both, one in four each. C x H x W and H x W, the same shapes out."""
    horizontal, vertical = rng.integers(2, size=2)
    step = (slice(None, None, -1 if vertical else 1), slice(None, None, -1 if horizontal else 1))
    return np.ascontiguousarray(planes[(slice(None), *step)]), np.ascontiguousarray(label[step])


def warped_crop(planes: Planes, label: Label, side: int, rng: Random) -> tuple[Planes, Label]:
    """C x H x W and H x W -> C x S x S and S x S: a crop, rotated, flipped, zoomed and bent in one interpolation.

    The elastic part is a coarse grid of random displacements, as in Ronneberger et al. 2015, section 3.1. Past the
    image's edges it is mirrored.
    """
    height, width = label.shape
    angle, zoom = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-1, 1) * np.log(SCALE))
    mirror = rng.choice((-1.0, 1.0))
    centre_y = rng.uniform(min(side, height) / 2, height - min(side, height) / 2)
    centre_x = rng.uniform(min(side, width) / 2, width - min(side, width) / 2)

    y, x = np.mgrid[:side, :side].astype(np.float32) - np.float32((side - 1) / 2)
    points = side // ELASTIC_SPACING + 3
    shifts = ELASTIC_SIGMA * rng.standard_normal((points, points, 2), np.float32)
    bent = cv2.resize(shifts, (side, side), interpolation=cv2.INTER_CUBIC)
    y, x = y + bent[:, :, 0], mirror * (x + bent[:, :, 1])
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    map_x = (cosine * x - sine * y + centre_x - 0.5).astype(np.float32)
    map_y = (sine * x + cosine * y + centre_y - 0.5).astype(np.float32)

    border = cv2.BORDER_REFLECT_101
    crop = np.stack([cv2.remap(plane, map_x, map_y, cv2.INTER_LINEAR, borderMode=border) for plane in planes])
    target = cv2.remap(label.view(np.uint8), map_x, map_y, cv2.INTER_NEAREST, borderMode=border)
    return crop, target.view(np.bool_)


def photometric(planes: Planes, rng: Random) -> Planes:
    """C x S x S float32 -> the same: blur, gamma, noise, brightness and contrast, each at times.

    Strengths are in units of the crop's own standard deviation, so any preprocessing will do. Gamma keeps mean and
    deviation, as in nnU-Net (Isensee et al. 2021, supplementary note 4).
    """
    spread = max(float(planes.std()), 1e-6)
    if rng.random() < 0.3:
        sigma = rng.uniform(0.4, 1.5)
        planes = np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in planes])
    if rng.random() < 0.5:
        planes = _gamma(planes, np.exp(rng.uniform(-0.5, 0.5)))
    if rng.random() < 0.5:
        planes = planes + spread * rng.uniform(0, 0.4) * rng.standard_normal(planes.shape, np.float32)
    if rng.random() < 0.5:
        mean = planes.mean(dtype=np.float64)
        planes = (planes - mean) * rng.uniform(0.7, 1.4) + mean + spread * rng.uniform(-0.4, 0.4)
    return planes.astype(np.float32, copy=False)


def _gamma(planes: Planes, exponent: float) -> Planes:
    mean, deviation, low = planes.mean(), planes.std(), planes.min()
    curved = ((planes - low) / max(float(planes.max() - low), 1e-6)) ** np.float32(exponent)
    restored: Planes = (curved - curved.mean()) * (deviation / max(float(curved.std()), 1e-6)) + mean
    return restored
