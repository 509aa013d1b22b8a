"""A net that is ready for requests, with all that its answers depend on."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.scheduler import TileScheduler
from model.engines.engine import EngineInfo
from model.inputs.preprocessing import Values
from model.segmenter import ImageTask, Render
from model.weights_file import Description, WeightsInfo


@dataclass(frozen=True)
class NetName:
    """The file and the label of a net, for people to read."""

    file: str
    model: str


@dataclass(frozen=True)
class RefusedFile:
    """A weights file that is not served, and the reason, which clients may see: it holds no path of the server."""

    file: str
    reason: str


@dataclass(frozen=True, eq=False)
class ServedNet:
    """A net that is ready for requests.

    A request takes the served net at its start and uses no other net until its end. So its answer is consistent, even
    if the service changes the weights meanwhile. A net that is no longer served is freed when the last request that
    holds this object ends.

    Attributes:
        weights: Description and sha256 of the weights.
        scheduler: Computes tiles with these weights.
        file: Name of the weights file, without its folder.
        tile: Side of the largest tile, pixels.
        former: The net of this name that this one replaced, or the former default if it became the default; None for
            the first one.
        loaded_at: Time at which the net became ready, UTC.
    """

    weights: WeightsInfo
    scheduler: TileScheduler
    file: str
    tile: int
    former: NetName | None = None
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def description(self) -> Description:
        return self.weights.description

    @property
    def label(self) -> str:
        """Name of the net @ first 12 digits of its sha256: the header `X-Model`."""
        return self.weights.label

    @property
    def engine(self) -> EngineInfo:
        return self.scheduler.engine

    @property
    def name(self) -> NetName:
        return NetName(self.file, self.label)

    def reserved(self, pixels: int) -> AbstractContextManager[None]:
        """Reserves `pixels` in the queue for an image while it is decoded, see `QueueCapacity.reserved`."""
        return self.scheduler.capacity.reserved(pixels, self.weights.sha256)

    def task(self, image: Values, render: Render, bits: int = 0) -> ImageTask:
        """Returns the tiles of an image. Raises ValueError: see `ImageTask`."""
        return ImageTask(image, self.description, self.tile, render, bits)
