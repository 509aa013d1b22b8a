"""The net of a BioImage.IO package: what is known of its input and output, whatever is between them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PackagedNet(BaseModel):
    """A net whose layers are in a package: the counterpart of `UNetConfig`, which this project can build.

    Attributes:
        in_channels: Number of channels of the input.
        classes: Number of probabilities per pixel.
        outputs: Number of channels that the net computes.
        output: The channel that is served as the probability of the foreground; None if all are classes.
        activation: What turns the net's values into probabilities; "none" if they are probabilities.
        input_axes: Order of the input's axes: b (batch), c (channel), y and x.
        output_axes: Order of the output's axes.
        smallest: Smallest side of the net's input in pixels.
        step: Sides are the smallest one plus a multiple of this number of pixels; 0: they are always the smallest.
        grid: See `UNetConfig.grid`.
        reach: Distance in pixels up to which a cut edge may change the output, as measured; None if there is no limit.
            Then an image is computed in one tile, or refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_channels: int = Field(ge=1, le=1024)
    classes: int = Field(ge=1, le=256)
    outputs: int = Field(ge=1, le=256)
    output: int | None
    activation: Literal["none", "sigmoid", "softmax"]
    input_axes: str
    output_axes: str
    smallest: int = Field(ge=1, le=65536)
    step: int = Field(ge=0, le=65536)
    grid: int = Field(ge=1, le=65536)
    reach: int | None = None

    @property
    def halo(self) -> int:
        """The reach, rounded up to the grid."""
        return -(-(self.reach or 0) // self.grid) * self.grid

    @property
    def is_unlimited(self) -> bool:
        """True if each result depends on the whole image, or on its place in it, so that tiles would change it."""
        return self.reach is None

    @property
    def tile_scale(self) -> int:
        """The scale of `UNetConfig.tile_scale`: 1, because packages do not say at which scale they compute."""
        return 1

    def tile_side(self, wanted: int) -> int:
        """The side of the largest tile, of at most `wanted` pixels where the net has a choice."""
        return max(self.smallest, wanted // self.grid * self.grid) if self.step else self.smallest

    def padded(self, side: int) -> int:
        """The smallest side of an input that holds `side` pixels; for nets of one size, never more than it."""
        steps = -(-max(0, side - self.smallest) // self.step) if self.step else 0
        return self.smallest + steps * self.step
