"""Mean and standard deviation of sections that are never in memory as a whole.

Sums of whole numbers are exact in any order and in any number of parts. The result equals OpenCV's for the whole
section, up to the last float32 digit in use. The sums of parts in float32, whose values are 0..1, are added up without
rounding, so that their order does not matter either.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from model.inputs.preprocessing import STORED, Affine, Values, z_score

Sum: TypeAlias = int | float
"""Whole numbers for uint8 and uint16."""

Sums: TypeAlias = tuple[tuple[Sum, Sum], ...]
"""For each channel the sum of the values and the sum of their squares."""

# The sum of this many squares of 16 bits is below 2^53, up to which float64 holds every whole number.
EXACT_PIXELS = 2**20


def sums(pixels: Values) -> Sums:
    """H x W x C uint8, uint16 or float32, from `Preprocessing.arrange`."""
    return tuple(_sums(pixels[:, :, channel]) for channel in range(pixels.shape[2]))


def _sums(plane: Values) -> tuple[Sum, Sum]:
    total: Sum = 0
    squares: Sum = 0
    number = int if plane.dtype in STORED else float
    rows = max(1, EXACT_PIXELS // plane.shape[1])
    for first in range(0, plane.shape[0], rows):
        for part in np.array_split(plane[first : first + rows].ravel(), -(-plane.shape[1] // EXACT_PIXELS)):
            values = part.astype(np.float64)
            total += number(values.sum())
            squares += number(values @ values)
    return total, squares


def add(parts: Iterable[Sums]) -> Sums:
    """Merges the moments of a section's parts, at least one."""
    channels = zip(*parts, strict=True)
    return tuple((_add([total for total, _ in parts]), _add([square for _, square in parts])) for parts in channels)


def _add(parts: Sequence[Sum]) -> Sum:
    return sum(parts) if all(isinstance(part, int) for part in parts) else math.fsum(parts)


def affine(section: Sums, pixels: int, dtype: np.dtype[Any]) -> Affine:
    """Returns what `Preprocessing.affine` returns for a z-scored section of `pixels` pixels of that type."""
    means = [total / pixels for total, _ in section]
    variances = [squares / pixels - mean**2 for (_, squares), mean in zip(section, means, strict=True)]
    return z_score(np.array(means), np.sqrt(np.maximum(variances, 0.0)), dtype)
