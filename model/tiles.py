"""The overlap-tile plan (Ronneberger et al. 2015, figure 2): every output pixel is written by exactly one tile.

A tile's window is the net's input, its core the output. A window extends `halo` pixels beyond its core, or to the end
of the image, so that the borders of the image are treated as in one piece.

The encoder needs the halo, because its deepest levels see that far. The decoder's own convolutions see only a few
pixels around the core, so the decoder is computed only there (`decoder_crops`): a sixth less work, the same result.
"""

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError

Window: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""[first, end) of the rows, [first, end) of the columns."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in pixels of the image: window [start, start + size), core [low, high) inside it.

    `end` is where the requested results end: `high`, or the end of the window if the image ends there. So images of
    nearly the same size request the same shape.
    """

    start: int
    size: int
    low: int
    high: int
    end: int

    @property
    def kept(self) -> tuple[int, int]:
        """The results to compute, counted from the window's start; they begin with the core."""
        return self.low - self.start, self.end - self.start


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
    def kept(self) -> Window:
        """Rows and columns of the window that the engine is asked for."""
        return self.rows.kept, self.columns.kept

    @property
    def pixels(self) -> int:
        """Pixels of the window: what computing the tile costs."""
        return self.rows.size * self.columns.size


def plan_tiles(height: int, width: int, *, tile: int, halo: int, grid: int) -> list[Tile]:
    """Plans the tiles of an image, row by row.

    The image counts as padded to multiples of `grid` on the right and below. A side of at most `tile` pixels stays in
    one piece. A longer side is covered by the smallest possible number of windows. Windows have one size of at most
    `tile` pixels and start at multiples of `grid`.

    Raises UserError if `tile` is no multiple of `grid` or leaves no core between two halos.
    """
    if tile % grid or halo % grid or tile <= 2 * halo:
        raise UserError(f"tile must be a multiple of {grid} and more than {2 * halo} pixels, not {tile}")
    rows, columns = (_spans(side, tile, halo, grid) for side in (height, width))
    return [Tile(row, column) for row, column in product(rows, columns)]


def _spans(side: int, tile: int, halo: int, grid: int) -> list[Span]:
    padded = _round_up(side, grid)
    if padded <= tile:
        return [Span(start=0, size=padded, low=0, high=side, end=padded)]
    count = -(-(padded - 2 * halo) // (tile - 2 * halo))
    size = _round_up(-(-(padded + 2 * halo * (count - 1)) // count), grid)
    starts = [*range(0, padded - size, size - 2 * halo), padded - size]
    edges = [0, *(start + size - halo for start in starts[:-1]), side]
    ends = [*edges[1:-1], padded]
    return [
        Span(start, size, low, high, end) for start, (low, high), end in zip(starts, pairwise(edges), ends, strict=True)
    ]


def block_side(side: int, *, tile: int, halo: int, grid: int) -> int:
    """The side of the blocks of `block_spans`: of a tile without its halos, or the whole side where that is a tile."""
    return side if _round_up(side, grid) <= tile else tile - 2 * halo


def block_spans(side: int, *, tile: int, halo: int, grid: int) -> list[Span]:
    """Like those of `plan_tiles` along one axis, but of cores that start at multiples of `block_side`.

    So cores can be stored as chunks. Windows differ in size where the image ends. Tile, halo and grid are as
    `plan_tiles` takes them.
    """
    padded, block = _round_up(side, grid), block_side(side, tile=tile, halo=halo, grid=grid)
    spans = []
    for low in range(0, side, block):
        high = min(side, low + block)
        start, window_end = max(0, low - halo), min(padded, high + halo) if high < side else padded
        spans.append(Span(start, window_end - start, low, high, high if high < side else padded))
    return spans


def cut_window(pixels: NDArray[Any], tile: Tile, origin: tuple[int, int] = (0, 0)) -> NDArray[Any]:
    """A tile's window, h x w x C, out of H x W x C pixels of the image from row and column `origin` on.

    Past their end, which is then the image's, the edge pixels are repeated.
    """
    top, left = tile.rows.start - origin[0], tile.columns.start - origin[1]
    window = pixels[top : top + tile.rows.size, left : left + tile.columns.size]
    below, right = tile.rows.size - window.shape[0], tile.columns.size - window.shape[1]
    return np.pad(window, ((0, below), (0, right), (0, 0)), mode="edge") if below or right else window


def _round_up(pixels: int, grid: int) -> int:
    return -(-pixels // grid) * grid


def decoder_crops(kept: Window, shape: tuple[int, int], depth: int, downsampling: int = 1) -> NDArray[np.int64]:
    """Crops of a net's decoder that leave the rows and columns `kept` of a window unchanged.

    The two 3 x 3 convolutions of a level look 2 pixels around their output, and bilinear upsampling looks 1 pixel
    around. A crop that ends at an edge of the window treats the edge as the whole window does.

    Args:
        kept: Rows and columns of the window whose logits are needed.
        shape: Height and width of the window, multiples of the net's grid.
        depth: The net's depth.
        downsampling: The net's `UNetConfig.downsampling`.

    Returns:
        M x 2 x 2 int64: [first, end) by axis, in pixels of the map that is cropped. For each level, finest first, the
        crop of the encoder's map, then that of the upsampled map from below. Next is the crop of the logits, and for
        `downsampling` > 1 that of the upsampled logits, so M is 2 x depth + 1 or 2 x depth + 2.
    """
    logits = [_before_upsampling(*axis, downsampling) for axis in zip(kept, shape, strict=True)]
    spans = [_joined(ends, size // downsampling, depth) for ends, size in zip(logits, shape, strict=True)]
    crops = []
    for level in range(depth):
        crops.append([joined[level] for joined in spans])
        crops.append([_moved(joined[level], 2 * joined[level + 1][0]) for joined in spans])
    crops.append([_moved(ends, joined[0][0]) for ends, joined in zip(logits, spans, strict=True)])
    if downsampling > 1:
        crops.append([_moved(ends, downsampling * first) for ends, (first, _) in zip(kept, logits, strict=True)])
    return np.array(crops, np.int64)


def _before_upsampling(kept: tuple[int, int], size: int, factor: int) -> tuple[int, int]:
    """[first, end) of the logits from which `kept` of the upsampled logits are interpolated, along one axis.

    `size`: pixels of the upsampled logits.
    """
    if factor == 1:
        return kept
    low, end = kept
    return max(0, low // factor - 1), min(size // factor, -(-end // factor) + 1)


def _joined(kept: tuple[int, int], size: int, depth: int) -> list[tuple[int, int]]:
    """[first, end) of the maps that each level joins, along one axis, finest first; the deepest map is whole."""
    low, end = kept
    joined = []
    for level in range(depth):
        low, end = max(0, low - 2), min(size >> level, end + 2)
        joined.append((low, end))
        low, end = max(0, low // 2 - 1), min(size >> (level + 1), -(-end // 2) + 1)
    return [*joined, (0, size >> depth)]


def _moved(span: tuple[int, int], first: int) -> tuple[int, int]:
    """A span as counted from `first`."""
    return span[0] - first, span[1] - first
