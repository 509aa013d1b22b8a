"""The engine protocol.

Shape letters: N tiles, C channels, K classes, H height, W width.
"""

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError
from model.tiles import Window

Array: TypeAlias = NDArray[np.float32]


class EngineError(UserError):
    """An engine, device or precision that is not to be had here; the message says what is."""


class EngineInfo(Protocol):
    """The properties of an engine that are shown to people."""

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...


class Engine(EngineInfo, Protocol):
    """Runs batches of tiles."""

    @property
    def batch_pixels(self) -> int:
        """Pixels beyond which a larger batch is no faster, and only makes its tiles wait for each other."""
        ...

    @property
    def streams(self) -> int:
        """Number of runs to keep going at once, each in its own thread; a batch beyond `batch_pixels` gains nothing."""
        ...

    @property
    def held_bytes(self) -> int:
        """Memory that the engine holds for itself between two runs, bytes; an upper estimate."""
        ...

    def release_memory(self) -> None:
        """Gives back the memory that large batches left behind; the next large batch allocates it again."""
        ...

    def run(self, batch: Array, kept: Window | None = None) -> Array:
        """N x C x H x W float32 -> N x K x h x w float32 probabilities (sigmoid of one class, softmax of several).

        `kept`: the h rows and w columns that are wanted, None for all. The engine may leave the others uncomputed.
        """
        ...
