"""The engine of a packaged net: sides that the net takes, one tile after another, and probabilities.

Shape letters: N tiles, C channels, K classes, H height, W width.
"""

import numpy as np
import torch

from model.engines.engine import Array, Engine
from model.engines.pytorch import to_probabilities
from model.packages.packaged_net import PackagedNet
from model.tiles import Window


class PackagedEngine:
    """An `Engine` over one that computes the net's own values. Packages describe batches of one image."""

    batch_pixels = 1

    def __init__(self, engine: Engine, net: PackagedNet, threshold: float = 0.5) -> None:
        """`threshold`: see `to_probabilities`."""
        self._engine, self._net, self._threshold = engine, net, threshold
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self.streams = engine.streams

    @property
    def held_bytes(self) -> int:
        return self._engine.held_bytes

    def release_memory(self) -> None:
        self._engine.release_memory()

    def run(self, batch: Array, kept: Window | None = None) -> Array:
        return np.concatenate([self._run(tile[np.newaxis], kept) for tile in batch])

    def _run(self, tile: Array, kept: Window | None) -> Array:
        height, width = tile.shape[-2:]
        rows, columns = (self._net.padded(side) - side for side in (height, width))
        if rows or columns:
            tile = np.pad(tile, ((0, 0), (0, 0), (0, rows), (0, columns)), mode="edge")
        values = torch.from_numpy(self._engine.run(tile, kept or ((0, height), (0, width))))
        if self._net.output is not None:
            values = values[:, self._net.output : self._net.output + 1]
        probabilities = values
        if self._net.activation == "sigmoid" and self._net.classes == 1:
            probabilities = to_probabilities(values, self._threshold)
        elif self._net.activation == "softmax":
            probabilities = values.softmax(dim=1)
        array: Array = probabilities.contiguous().numpy()
        return array
