"""Pixels of types without a fixed range: whole numbers with a sign or more than 16 bits, and floating point.

Shape letters: H height, W width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.inputs.preprocessing import STORED, Values


def to_values(planes: Sequence[NDArray[Any]]) -> tuple[list[Values], tuple[float, float] | None]:
    """Converts the planes of one channel to values whose full range is known.

    8 and 16 bits unsigned stay as they are. All others become float32: 0 is the lowest and 1 the highest finite value
    of all planes. NaN becomes the mean of its plane, an infinite value becomes 0 or 1. A net of z-scored input gives
    the same result for the values before and after.

    Args:
        planes: H x W or H x W x C each, of any real type.

    Returns:
        The planes, and the lowest and highest value if any plane was converted.
    """
    other = [plane for plane in planes if plane.dtype not in STORED]
    if not other:
        return list(planes), None
    bounds = [each for plane in other for each in finite_bounds(plane)]
    low, high = (min(bounds), max(bounds)) if bounds else (0.0, 0.0)
    return [plane if plane.dtype in STORED else stretch(plane, low, high) for plane in planes], (low, high)


def finite_bounds(plane: NDArray[Any]) -> tuple[float, ...]:
    """Returns the lowest and the highest finite value of a plane of any real type; () if there is none."""
    if plane.dtype.kind != "f":
        return float(plane.min()), float(plane.max())
    finite = np.isfinite(plane)
    if not finite.any():
        return ()
    return float(plane.min(initial=np.inf, where=finite)), float(plane.max(initial=-np.inf, where=finite))


def stretch(plane: NDArray[Any], low: float, high: float, fill: float | None = None) -> NDArray[np.float32]:
    """Maps `low` to 0 and `high` to 1.

    Args:
        plane: An array of any shape and real type.
        low: The lowest finite value of the image.
        high: The highest finite value of the image. If it equals `low`, all values become 0.
        fill: The result for NaN, 0..1; None for the mean of the finite values of the plane.

    Returns:
        An array of the same shape, 0..1; infinite values become 0 or 1.
    """
    # halves, because the difference of two numbers may be infinite
    spread = high / 2 - low / 2
    values = (plane.astype(np.float64) / 2 - low / 2) / spread if spread > 0 else np.zeros(plane.shape)
    if plane.dtype.kind == "f":
        known = np.isfinite(plane)
        if fill is None:
            fill = float(values.mean(where=known)) if known.any() else 0.0
        values = np.clip(np.nan_to_num(values, copy=False, nan=fill, posinf=1.0, neginf=0.0), 0.0, 1.0)
    return values.astype(np.float32)
