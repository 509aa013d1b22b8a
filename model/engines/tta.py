"""Test-time augmentation (TTA): the mean of the probabilities over flips and quarter turns of the image.

Tiles stay exact under TTA. Windows start at multiples of the grid, and their sides are multiples of it. So a flipped or
turned window is pooled in the same groups of pixels as that part of the flipped or turned image. The halo suffices,
because it is the same on all four sides.

Shape letters: N tiles, C channels, K classes, H height, W width.
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from model.engines.engine import Array, Engine
from model.tiles import Window


class Symmetry(NamedTuple):
    """One of the square's eight: `flipped` axes are reversed, then rows and columns change places if `transposed`."""

    transposed: bool
    flipped: tuple[int, ...]

    def apply_to(self, kept: Window, shape: tuple[int, int]) -> Window:
        """Where the rows and columns `kept` of a map of `shape` come to lie."""
        rows, columns = (
            (size - end, size - first) if axis in self.flipped else (first, end)
            for axis, size, (first, end) in zip((-2, -1), shape, kept, strict=True)
        )
        return (columns, rows) if self.transposed else (rows, columns)

    def apply(self, batch: Array) -> Array:
        """... x H x W -> a view of it, ... x H x W, or ... x W x H if transposed."""
        batch = np.flip(batch, self.flipped)
        return batch.swapaxes(-2, -1) if self.transposed else batch

    def undo(self, batch: Array) -> Array:
        """The inverse of `apply`, also a view."""
        batch = batch.swapaxes(-2, -1) if self.transposed else batch
        return np.flip(batch, self.flipped)


# In this order the first 2 are the image and its mirror image, the first 4 its flips, and 8 add their quarter turns.
SYMMETRIES = [Symmetry(*parts) for parts in product((False, True), ((), (-1,), (-2,), (-2, -1)))]
COUNTS = (1, 2, 4, 8)


class TTAEngine:
    """An engine whose probabilities are another's, averaged over symmetries; it takes that many times as long."""

    def __init__(self, engine: Engine, symmetries: int, grid: int) -> None:
        """`symmetries`: 1, 2 (mirrored), 4 (flips) or 8 (and turned); `grid`: the net's. Raises ValueError."""
        if symmetries not in COUNTS:
            raise ValueError(f"tta must be 1, 2, 4 or 8, not {symmetries}")
        self._engine, self._grid = engine, grid
        self._others = SYMMETRIES[1:symmetries]
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self.batch_pixels, self.streams = engine.batch_pixels, engine.streams

    @property
    def held_bytes(self) -> int:
        return self._engine.held_bytes

    def release_memory(self) -> None:
        self._engine.release_memory()

    def run(self, batch: Array, kept: Window | None = None) -> Array:
        """Turns N x C x H x W float32 into N x K x h x w float32 probabilities, for any H and W from 1.

        Symmetries are computed one after another, so that TTA takes hardly more memory than the engine without it.
        """
        height, width = batch.shape[-2:]
        padded, kept = self._padded(batch), kept or ((0, height), (0, width))
        total = self._engine.run(padded, kept).copy()  # the engine may use the memory of its result again
        for symmetry in self._others:
            # copied, for torch takes no view with negative strides
            view = symmetry.apply(padded).copy()
            total += symmetry.undo(self._engine.run(view, symmetry.apply_to(kept, padded.shape[-2:])))
        total /= 1 + len(self._others)
        return total

    def _padded(self, batch: Array) -> Array:
        """Padded as the net would: were that left to it, a flipped batch would be padded on its other side."""
        rows, columns = (-size % self._grid for size in batch.shape[-2:])
        if not rows and not columns:
            return batch
        return np.pad(batch, ((0, 0), (0, 0), (0, rows), (0, columns)), mode="edge")
