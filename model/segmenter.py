"""`Segmenter`: an image as an array in, probabilities or a mask as an array out, at any size.

Shape letters: N tiles, C channels, K classes, H height, W width.
"""

from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from model.engine import Array, Engine, TorchEngine
from model.preprocessing import FULL_SCALE, Pixels
from model.tiles import Tile, plan_tiles
from model.tta import TTAEngine
from model.weights_file import BUNDLED, Description, Weights, load_weights

# Two thirds of a window of this side are core, and its activations at width 32 stay under 1 GB.
TILE = 1024
MAX_BATCH = 8


class ImageTask:
    """One image on its way through an engine: its tiles are cut, computed in any order, and pasted, each once."""

    def __init__(self, image: Pixels, description: Description, tile: int) -> None:
        """`image`: H x W or H x W x C, uint8 or uint16, RGB order. Raises ValueError if the net takes no such image."""
        if image.dtype not in FULL_SCALE or image.ndim not in (2, 3) or image.size == 0:
            raise ValueError(f"an image is H x W or H x W x C, uint8 or uint16, not {image.shape} {image.dtype}")
        architecture, preprocessing = description.architecture, description.preprocessing
        self._pixels = preprocessing.arrange(image)
        height, width, channels = self._pixels.shape
        if channels != architecture.in_channels:
            raise ValueError(f"the net takes {architecture.in_channels} channels, the image has {channels}")
        self._affine = preprocessing.affine(self._pixels)
        self.tiles = plan_tiles(height, width, tile=tile, halo=architecture.halo, grid=architecture.grid)
        self.probabilities: Array = np.empty((architecture.classes, height, width), np.float32)
        """K x H x W float32 in 0..1, whole once every tile is pasted."""

    def cut(self, tile: Tile) -> Array:
        """The net's input for a tile, C x H x W float32; past the image its edge pixels are repeated."""
        height, width, _ = self._pixels.shape
        rows, columns = tile.rows, tile.columns
        window = self._pixels[rows.start : rows.start + rows.size, columns.start : columns.start + columns.size]
        below, right = max(0, rows.start + rows.size - height), max(0, columns.start + columns.size - width)
        if below or right:
            window = cast(Pixels, np.pad(window, ((0, below), (0, right), (0, 0)), mode="edge"))
        return self._affine.apply(window)

    def paste(self, tile: Tile, probabilities: Array) -> None:
        """Writes the core of a tile's K x H x W probabilities."""
        rows, columns = tile.rows, tile.columns
        target = self.probabilities[:, rows.low : rows.high, columns.low : columns.high]
        target[...] = probabilities[:, rows.inside, columns.inside]


class Segmenter:
    """Weights and an engine, ready for images."""

    def __init__(
        self, weights: Weights, engine: Engine, *, tile: int = TILE, max_batch: int = MAX_BATCH, tta: int = 1
    ) -> None:
        """`tta`: over how many symmetries results are averaged, see `TTAEngine`; 1: none but the image as it is.

        Raises ValueError if `tile` does not suit the net, or `tta` is not 1, 2, 4 or 8.
        """
        self.weights = weights
        self.description = weights.description
        self.max_batch = max_batch
        self._tile = tile
        architecture = self.description.architecture
        self.engine = engine if tta == 1 else TTAEngine(engine, tta, architecture.grid)
        plan_tiles(1, 1, tile=tile, halo=architecture.halo, grid=architecture.grid)  # says so now if it never will

    @classmethod
    def load(
        cls, path: Path = BUNDLED, *, device: str = "auto", precision: str = "auto", tile: int = TILE, tta: int = 1
    ) -> "Segmenter":
        """From a weights file, on the torch engine. Raises WeightsError, EngineError, ValueError."""
        weights = load_weights(path)
        engine = TorchEngine(weights.build_net(), device, precision, weights.description.threshold)
        return cls(weights, engine, tile=tile, tta=tta)

    def task(self, image: Pixels) -> ImageTask:
        """The tiles of an image (see `ImageTask`), for callers that run the engine themselves."""
        return ImageTask(image, self.description, self._tile)

    def batch_size(self, tile: Tile) -> int:
        """How many such tiles go through the engine at once: never more pixels than one full tile has."""
        return max(1, min(self.max_batch, self._tile**2 // tile.pixels))

    def probabilities(self, image: Pixels) -> Array:
        """H x W or H x W x C, uint8 or uint16 -> K x H x W float32 in 0..1. Raises ValueError: see `ImageTask`."""
        task = self.task(image)
        step = self.batch_size(task.tiles[0])
        for first in range(0, len(task.tiles), step):
            tiles = task.tiles[first : first + step]
            for tile, result in zip(tiles, self.engine.run(np.stack([task.cut(tile) for tile in tiles])), strict=True):
                task.paste(tile, result)
        return task.probabilities

    def mask(self, image: Pixels, threshold: float | None = None) -> NDArray[np.uint8]:
        """H x W uint8: 0 and 255, or the class index of a net of several. `threshold`: 0..1, or the stored one."""
        return to_mask(self.probabilities(image), self.description.threshold if threshold is None else threshold)


def to_mask(probabilities: Array, threshold: float) -> NDArray[np.uint8]:
    """K x H x W in 0..1 -> H x W uint8: 255 where p >= threshold, else 0; for K > 1 the likeliest class's index."""
    if probabilities.shape[0] > 1:
        index: NDArray[np.uint8] = probabilities.argmax(axis=0).astype(np.uint8)
        return index
    mask: NDArray[np.uint8] = (probabilities[0] >= np.float32(threshold)).view(np.uint8) * np.uint8(255)
    return mask
