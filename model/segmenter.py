"""`Segmenter`: an image as an array in, probabilities or a mask as an array out, at any size.

Shape letters: N tiles, C channels, K classes, H height, W width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.engines.choice import bundled_weights, choose, make_engine
from model.engines.engine import Array, Engine
from model.engines.graph_weights import load_any
from model.engines.tta import TTAEngine
from model.errors import UserError
from model.inputs.preprocessing import FULL_SCALE, Affine, Values
from model.tiles import Tile, cut_window, plan_tiles
from model.weights_file import Description, WeightsInfo

# Large enough that little is computed twice (the halos), small enough that a batch lasts under a second on two cores.
TILE = 1600
MAX_BATCH = 8

Render: TypeAlias = Callable[[Array], NDArray[Any]]
"""Maps K x H x W float32 probabilities to the stored values, (... x) H x W, pixel by pixel."""


def as_they_are(probabilities: Array) -> Array:
    """The render that keeps the probabilities."""
    return probabilities


@dataclass(frozen=True)
class TileInput:
    """All that is needed to compute a tile, wherever that is done.

    `pixels`: its window, h x w x C, of the image's type. Where `render` can be pickled, a piece can.
    """

    tile: Tile
    pixels: Values
    affine: Affine
    render: Render

    def to_input(self) -> Array:
        """The net's input, C x h x w float32."""
        return self.affine.apply(self.pixels)

    def finish(self, probabilities: Array) -> NDArray[Any]:
        """Renders the tile's core from the probabilities of `tile.kept`, K x h x w."""
        rows, columns = self.tile.rows, self.tile.columns
        return self.render(probabilities[:, : rows.high - rows.low, : columns.high - columns.low])


class Task(Protocol):
    """Tiles that are cut, computed in any order, and pasted, each once."""

    tiles: list[Tile]

    def cut(self, tile: Tile) -> TileInput:
        """The tiles to compute."""
        ...

    def paste(self, tile: Tile, finished: NDArray[Any]) -> None:
        """Takes what `TileInput.finish` gave."""
        ...


class ImageRefused(UserError):
    """An image that a net does not take; the message is a sentence that clients may see."""


def check_tile(description: Description, tile: int) -> None:
    """Raises UserError if a net cannot take tiles of that side, in pixels as `SEGMENT_TILE` and `--tile`."""
    net = description.architecture
    scale = net.tile_scale
    plan_tiles(1, 1, tile=net.tile_side(tile) // scale, halo=net.halo // scale, grid=net.grid // scale)


def _check_image(description: Description, pixels: Values, side: int, tiles: int) -> None:
    """Raises ImageRefused if a result would depend on how the image is cut, or if a net needs stored numbers."""
    height, width = pixels.shape[:2]
    net, preprocessing = description.architecture, description.preprocessing
    if tiles > 1 and net.is_unlimited:
        raise ImageRefused(
            f"The net looks at the whole image, so it takes at most {side} x {side} pixels (SEGMENT_TILE, --tile); "
            f"the image has {width} x {height}."
        )
    if preprocessing.scaling == "stored" and pixels.dtype == np.float32:
        raise ImageRefused("The net takes the stored numbers of 8 or 16 bits; the image has others.")


class ImageTask:
    """One image on its way through an engine: a `Task`."""

    def __init__(
        self, image: Values, description: Description, tile: int, render: Render = as_they_are, bits: int = 0
    ) -> None:
        """Plans the tiles of an image.

        Args:
            image: H x W or H x W x C in RGB order; uint8, uint16, or float32 with the full range 0..1.
            description: The net.
            tile: Side of the largest tile, pixels.
            render: Maps probabilities to the values that are stored.
            bits: Bits in use of 16, see `Preprocessing.affine`.

        Raises:
            UserError: The net does not take such an image.
        """
        if image.dtype not in FULL_SCALE or image.ndim not in (2, 3) or image.size == 0:
            raise UserError(
                f"an image is H x W or H x W x C, uint8, uint16 or float32, not {image.shape} {image.dtype}"
            )
        architecture, preprocessing = description.architecture, description.preprocessing
        self._pixels = preprocessing.arrange(image)
        height, width, channels = self._pixels.shape
        if channels != architecture.in_channels:
            raise UserError(f"the net takes {architecture.in_channels} channels, the image has {channels}")
        self._affine = preprocessing.affine(self._pixels, bits)
        self._render = render
        side = architecture.tile_side(tile)
        self.tiles = plan_tiles(height, width, tile=side, halo=architecture.halo, grid=architecture.grid)
        _check_image(description, self._pixels, side, len(self.tiles))
        nothing = render(np.zeros((architecture.classes, 0, 0), np.float32))
        self.result: NDArray[Any] = np.empty((*nothing.shape[:-2], height, width), nothing.dtype)
        """(... x) H x W, of the render's type; whole once every tile is pasted."""

    def cut(self, tile: Tile) -> TileInput:
        """Past the image its edge pixels are repeated."""
        return TileInput(tile, cut_window(self._pixels, tile), self._affine, self._render)

    def paste(self, tile: Tile, finished: NDArray[Any]) -> None:
        """Writes a tile's core, (... x) h x w."""
        rows, columns = tile.rows, tile.columns
        self.result[..., rows.low : rows.high, columns.low : columns.high] = finished


class Segmenter:
    """Weights and an engine, ready for images."""

    def __init__(
        self, weights: WeightsInfo, engine: Engine, *, tile: int = TILE, max_batch: int = MAX_BATCH, tta: int = 1
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
        check_tile(self.description, tile)

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        engine: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        tile: int = TILE,
        tta: int = 1,
        threads: int = 0,
    ) -> "Segmenter":
        """From a weights file, or the bundled ones that suit best. `threads`: see `make_engine`.

        Raises WeightsError, EngineError, ValueError.
        """
        weights = load_any(path or bundled_weights(engine, device, precision))
        choice = choose(weights, engine, device, precision)
        return cls(weights, make_engine(weights, choice, threads), tile=tile, tta=tta)

    @property
    def largest_side(self) -> int | None:
        """The side of the largest image that the net takes; None if there is no limit."""
        architecture = self.description.architecture
        return architecture.tile_side(self._tile) if architecture.is_unlimited else None

    def task(self, image: Values, render: Render = as_they_are, bits: int = 0) -> ImageTask:
        """The tiles of an image (see `ImageTask`), for callers that have tiles of several images to run."""
        return ImageTask(image, self.description, self._tile, render, bits)

    def batch_size(self, tile: Tile) -> int:
        """Returns the number of such tiles in a batch."""
        return max(1, min(self.max_batch, self.engine.batch_pixels // tile.pixels))

    def compute_batch(self, batch: Sequence[tuple[Task, Tile]]) -> None:
        """Computes tiles, which have one shape and keep the same part of it, and pastes each into its image."""
        tile_inputs = [task.cut(tile) for task, tile in batch]
        results = self.engine.run(
            np.stack([tile_input.to_input() for tile_input in tile_inputs]), tile_inputs[0].tile.kept
        )
        for (task, tile), tile_input, result in zip(batch, tile_inputs, results, strict=True):
            task.paste(tile, tile_input.finish(result))

    def render(self, image: Values, render: Render, bits: int = 0) -> NDArray[Any]:
        """An image as `ImageTask` takes it -> (... x) H x W, as rendered. Raises UserError: see `ImageTask`."""
        task = self.task(image, render, bits)
        for tile in task.tiles:
            self.compute_batch([(task, tile)])
        return task.result

    def probabilities(self, image: Values, bits: int = 0) -> Array:
        """An image as `ImageTask` takes it -> K x H x W float32 in 0..1. Raises ValueError: see `ImageTask`."""
        return self.render(image, as_they_are, bits)

    def mask(self, image: Values, threshold: float | None = None) -> NDArray[np.uint8]:
        """H x W uint8: 0 and 255, or the class index of a net of several. `threshold`: 0..1, or the stored one."""
        chosen = self.description.threshold if threshold is None else threshold
        return self.render(image, lambda probabilities: to_mask(probabilities, chosen))


def to_mask(probabilities: Array, threshold: float) -> NDArray[np.uint8]:
    """Thresholds probabilities, or picks the most probable class.

    Args:
        probabilities: K x H x W float32 in 0..1.
        threshold: The probability from which a pixel is foreground, 0..1; ignored if K > 1.

    Returns:
        H x W uint8. For one class 255 is foreground and 0 is background; for several classes the class index.
    """
    if probabilities.shape[0] > 1:
        index: NDArray[np.uint8] = probabilities.argmax(axis=0).astype(np.uint8)
        return index
    mask: NDArray[np.uint8] = (probabilities[0] >= np.float32(threshold)).view(np.uint8) * np.uint8(255)
    return mask
