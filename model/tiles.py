"""The overlap-tile plan (Ronneberger et al. 2015, figure 2): every output pixel is written by exactly one tile.

A tile's window is what the net sees, its core what it writes. A window reaches `halo` pixels past its core wherever the
image goes on, and ends where the image ends, so that the borders of the image are treated as in one piece.
"""

from dataclasses import dataclass
from itertools import pairwise, product


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in pixels of the image: window [start, start + size), core [low, high) inside it."""

    start: int
    size: int
    low: int
    high: int

    @property
    def inside(self) -> slice:
        """The core, counted from the window's start."""
        return slice(self.low - self.start, self.high - self.start)


@dataclass(frozen=True)
class Tile:
    """A window and its core; `rows` and `columns` are its two spans."""

    rows: Span
    columns: Span

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the window; all tiles of one image have the same."""
        return self.rows.size, self.columns.size

    @property
    def pixels(self) -> int:
        """Pixels of the window: what computing the tile costs."""
        return self.rows.size * self.columns.size


def plan_tiles(height: int, width: int, *, tile: int, halo: int, grid: int) -> list[Tile]:
    """The tiles of an image of that size, row by row.

    The image is taken as padded to multiples of `grid` to the right and below. A side of at most `tile` pixels stays
    in one piece; a longer one is covered by windows of `tile` pixels that start at multiples of `grid`.

    Raises ValueError if `tile` is no multiple of `grid` or leaves no core between two halos.
    """
    if tile % grid or halo % grid or tile <= 2 * halo:
        raise ValueError(f"tile must be a multiple of {grid} and more than {2 * halo} pixels, not {tile}")
    rows, columns = (_spans(side, tile, halo, grid) for side in (height, width))
    return [Tile(row, column) for row, column in product(rows, columns)]


def _spans(side: int, tile: int, halo: int, grid: int) -> list[Span]:
    padded = -(-side // grid) * grid
    if padded <= tile:
        return [Span(start=0, size=padded, low=0, high=side)]
    last = padded - tile
    starts = [*range(0, last, tile - 2 * halo), last]
    edges = [0, *(start + tile - halo for start in starts[:-1]), side]
    return [Span(start, tile, low, high) for start, (low, high) in zip(starts, pairwise(edges), strict=True)]
