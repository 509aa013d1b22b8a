"""Measures how far the output of an unknown net sees: the overlap that its tiles need.

What is not a number (NaN) spreads through sums and products to each value that depends on it, whatever the weights and
the image are. So an image that is NaN beyond an edge shows which results depend on pixels beyond the edge.

Shape letters: C channels, K channels of the output, H height, W width.
"""

from itertools import product

import numpy as np

from model.packages.packaged_file import Run
from model.packages.packaged_net import PackagedNet

# The side of the image that is half NaN. A net that sees further than its half is computed in one tile.
SIDE = 512
# Two float32 results of one net that sums in another order differ by less, relative to the largest value.
ROUNDING = 1e-4


def measure_reach(net: PackagedNet, passing: Run, run: Run) -> int | None:
    """Measures the reach of a net.

    Args:
        net: The net.
        passing: The net, so changed that it passes on NaN and nothing else changes which results depend on a pixel.
        run: The net.

    Returns:
        Distance in pixels; None if there is no limit, or if the output depends on the position in the image.
    """
    known = 0
    for axis, far in product((2, 3), (True, False)):
        reach = _reach(net, passing, axis, far)
        if reach is None:
            return None
        known = max(known, reach)
    found = net.model_copy(update={"reach": known})
    if not net.step and net.smallest <= 2 * found.halo + net.grid:
        return None  # no pixel of a tile would be far enough from its edges
    return found.reach if all(_is_shift_invariant(found, run, axis) for axis in (2, 3)) else None


def _reach(net: PackagedNet, passing: Run, axis: int, far: bool) -> int | None:
    """The distance from an edge in the middle up to which results become NaN; None if it is the whole half."""
    side = net.padded(SIDE) if net.step else net.smallest
    edge = side // 2 // net.grid * net.grid
    image = np.zeros(_shape(net, axis, side), np.float32).swapaxes(axis, 0)
    image[edge:] = np.nan if far else 0
    image[:edge] = 0 if far else np.nan
    result = np.isnan(passing(np.ascontiguousarray(image.swapaxes(axis, 0))))
    spoiled = np.flatnonzero(result.any(axis=tuple({0, 1, 2, 3} - {axis})))
    if not spoiled.size:
        return None
    reach = edge - int(spoiled[0]) if far else int(spoiled[-1]) + 1 - edge
    return max(0, reach) if reach < min(edge, side - edge) else None


def _shape(net: PackagedNet, axis: int, side: int) -> tuple[int, int, int, int]:
    sides = [net.smallest, net.smallest]
    sides[axis - 2] = side
    return 1, net.in_channels, sides[0], sides[1]


def _is_shift_invariant(net: PackagedNet, run: Run, axis: int) -> bool:
    """True if a window that starts one step of the grid later has the same results, far enough from its edges."""
    size = net.padded(2 * net.halo + 4 * net.grid) if net.step else net.smallest
    image = np.random.default_rng(0).standard_normal(_shape(net, axis, size + net.grid), np.float32)
    first, second = (
        run(np.ascontiguousarray(np.take(image, range(start, start + size), axis))) for start in (0, net.grid)
    )
    inner = range(net.halo + net.grid, size - net.halo)
    moved = range(net.halo, size - net.halo - net.grid)
    expected, found = np.take(first, inner, axis), np.take(second, moved, axis)
    return bool(np.abs(expected - found).max(initial=0) <= ROUNDING * max(1.0, float(np.abs(first).max())))
