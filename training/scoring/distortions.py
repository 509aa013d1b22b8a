"""The same images as another microscope or another hand might have taken them: how far weights can be trusted there.

Each distortion returns a sample whose pixels, H x W or H x W x C, have the same type, with label and ids to match.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from model.inputs.preprocessing import FULL_SCALE, Values
from training.data.folder import Sample

Distortion = Callable[[Sample], Sample]


def _shaded(change: Callable[[np.ndarray], np.ndarray], sample: Sample) -> Sample:
    """`change` maps pixels of 0..1 to pixels that are cut to 0..1."""
    full = FULL_SCALE[sample.pixels.dtype]
    changed = change(sample.pixels.astype(np.float32) / np.float32(full)).clip(0, 1) * full
    whole = sample.pixels.dtype.kind != "f"
    pixels: Values = (np.rint(changed) if whole else changed).astype(sample.pixels.dtype)  # type: ignore[assignment]
    return replace(sample, pixels=pixels, bits=0)  # their values may need more bits


def _noisy(pixels: np.ndarray) -> np.ndarray:
    noise: np.ndarray = pixels + 0.12 * np.random.default_rng(0).standard_normal(pixels.shape, np.float32)
    return noise


def resized(factor: float, sample: Sample) -> Sample:
    """Returns a sample with `factor` times as many pixels on each side."""
    size = tuple(max(1, round(side * factor)) for side in sample.label.shape[::-1])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    pixels: Values = cv2.resize(sample.pixels, size, interpolation=how)  # type: ignore[assignment]
    label: NDArray[np.uint8] = cv2.resize(sample.label, size, interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[assignment]
    ids = None
    if sample.ids is not None:
        # OpenCV resizes 32-bit numbers as floats only; no value is computed, so the bits stay
        ids = cv2.resize(sample.ids.view(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT).view(np.int32)
    return replace(sample, pixels=pixels, label=label, ids=ids)


DISTORTIONS: dict[str, Distortion] = {
    "brighter": partial(_shaded, lambda pixels: pixels + 0.2),
    "darker": partial(_shaded, lambda pixels: 0.5 * pixels - 0.05),
    "flatter": partial(_shaded, lambda pixels: 0.4 * pixels + 0.3),
    "gamma 2": partial(_shaded, lambda pixels: pixels**2),
    "blurred": partial(_shaded, lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 2.0)),
    "noisy": partial(_shaded, _noisy),
    "15% larger": partial(resized, 1.15),
    "15% smaller": partial(resized, 0.85),
    "a third smaller": partial(resized, 0.67),
}
