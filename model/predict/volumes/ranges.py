"""The range of values of a volume that is never in memory as a whole, by the rules for images.

See `model.images.value_range` for types without a fixed range, and `used_bits` in `model.inputs.preprocessing` for 16
bits.

Shape letters: H height, W width, C channels.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.images.value_range import finite_bounds, stretch
from model.inputs.preprocessing import SPREAD, STORED, is_multiple, sensor_bits

# Values that are converted at once: the float64 numbers in between take several times the memory of the result.
BLOCK = 2**20


class PlaneRange(NamedTuple):
    """The range of values of a plane or a part of it. JSON keeps it as a list.

    Attributes:
        low: The lowest finite value; infinite if there is none.
        high: The highest finite value; minus infinity if there is none.
        mean: Mean of the finite values; 0 for uint8 and uint16.
        finite: Number of finite values; 0 for uint8 and uint16.
        spread: For each factor of `SPREAD`, True if all values are multiples of the factor; False for other types.
    """

    low: float
    high: float
    mean: float
    finite: int
    spread: Sequence[bool]


def measure(section: NDArray[Any], colours: bool) -> list[PlaneRange]:
    """Measures H x W x C values of any real type: one range per channel, or one for all if channels are colours."""
    rows = _rows_of_a_block(section)
    blocks = (section[first : first + rows] for first in range(0, len(section), rows))
    return merge([_measure(plane) for plane in _planes(block, colours)] for block in blocks)


def _rows_of_a_block(section: NDArray[Any]) -> int:
    row = int(section[0].size)
    return max(1, BLOCK // row)


def _planes(section: NDArray[Any], colours: bool) -> list[NDArray[Any]]:
    return [section] if colours else [section[:, :, channel] for channel in range(section.shape[2])]


def _measure(plane: NDArray[Any]) -> PlaneRange:
    bounds = finite_bounds(plane)
    if not bounds:
        return PlaneRange(math.inf, -math.inf, 0.0, 0, (False,) * len(SPREAD))
    low, high = bounds
    if plane.dtype in STORED:
        dark = plane.dtype == np.uint16 and sensor_bits(int(high)) < 16
        return PlaneRange(low, high, 0.0, 0, tuple(dark and is_multiple(plane, factor) for factor in SPREAD))
    largest = max(abs(low), abs(high)) or 1.0  # the sum of values might be infinite
    finite = np.isfinite(plane)
    mean = float(np.divide(plane, largest, dtype=np.float64).mean(where=finite)) * largest
    return PlaneRange(low, high, mean, int(np.count_nonzero(finite)), (False,) * len(SPREAD))


def merge(parts: Iterable[Sequence[PlaneRange]]) -> list[PlaneRange]:
    """Merges the ranges of parts, plane by plane; the order of the parts does not matter."""
    return [_merge(planes) for planes in zip(*parts, strict=True)]


def _merge(parts: Sequence[PlaneRange]) -> PlaneRange:
    finite = sum(part.finite for part in parts)
    mean = math.fsum(part.mean * (part.finite / finite) for part in parts) if finite else 0.0
    spread = tuple(map(all, zip(*(part.spread for part in parts), strict=True)))
    return PlaneRange(min(part.low for part in parts), max(part.high for part in parts), mean, finite, spread)


def used_bits(whole: Sequence[PlaneRange]) -> int:
    """Returns what `used_bits` of `model.inputs.preprocessing` returns for a volume of uint16 with these ranges."""
    if any(map(all, zip(*(plane.spread for plane in whole), strict=True))):
        return 16
    return sensor_bits(int(max(plane.high for plane in whole)))


@dataclass(frozen=True)
class Stretch:
    """Maps the values of a section to 0..1, as `to_values` maps those of an image.

    Attributes:
        bounds: Of each plane, the lowest and the highest finite value of the whole volume.
        fills: Of each plane, the result for NaN in this section.
        colours: True if all channels are one plane.
    """

    bounds: Sequence[tuple[float, float]]
    fills: Sequence[float]
    colours: bool

    @classmethod
    def of(cls, whole: Sequence[PlaneRange], section: Sequence[PlaneRange], colours: bool) -> "Stretch":
        """Returns the map for a section of a volume with these ranges."""
        bounds = [(plane.low, plane.high) if plane.low <= plane.high else (0.0, 0.0) for plane in whole]
        fills = [
            stretch(np.array([plane.mean]), *ends).item() if plane.finite else 0.0
            for plane, ends in zip(section, bounds, strict=True)
        ]
        return cls(bounds, fills, colours)

    def apply(self, section: NDArray[Any]) -> NDArray[np.float32]:
        """H x W x C of any real type -> H x W x C."""
        stretched = np.empty(section.shape, np.float32)
        rows = _rows_of_a_block(section)
        planes = zip(_planes(section, self.colours), _planes(stretched, self.colours), strict=True)
        for (plane, result), (low, high), fill in zip(planes, self.bounds, self.fills, strict=True):
            for first in range(0, len(plane), rows):
                result[first : first + rows] = stretch(plane[first : first + rows], low, high, fill)
        return stretched
