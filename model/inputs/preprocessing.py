"""Preprocessing: turns the pixels of an image file into the numbers that a net was trained on. Stored with the weights.

Shape letters: H height, W width, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.packages.described_normalisation import DescribedNormalisation

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""As image files store them."""

STORED = (np.uint8, np.uint16)

Values: TypeAlias = Pixels | NDArray[np.float32]
"""Input of a net: stored pixels, or numbers whose full range is 0..1."""

FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}

# Bits of the sensors of cameras, whose images are stored in 16 bits.
_SENSOR_BITS = (8, 10, 12, 14, 16)

# If all values of 16 bits are multiples of one of these, they are 8 bits that were spread over 16.
SPREAD = (256, 257)

# An image with a lower standard deviation holds only noise, which normalisation must not amplify: rounding in 8 bits, a
# camera's dark noise in 16 bits. A dim signal of a few hundred counts must still be stretched.
LEAST_DEVIATION = {np.dtype(np.uint8): 1.0, np.dtype(np.uint16): 16.0, np.dtype(np.float32): 16 / 65535}


@dataclass(frozen=True)
class Affine:
    """From stored pixel values to net input: `(pixel - shift) / scale`, one pair a channel, fixed for an image.

    `low` and `high` limit the results; None for no limit.
    """

    shift: NDArray[np.float32]
    scale: NDArray[np.float32]
    low: float | None = None
    high: float | None = None

    def apply(self, pixels: Values) -> NDArray[np.float32]:
        """H x W x C uint8, uint16 or float32 -> C x H x W float32, contiguous and a copy."""
        planes: NDArray[np.float32] = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
        planes -= self.shift[:, None, None]
        planes /= self.scale[:, None, None]
        if self.low is not None or self.high is not None:
            np.clip(planes, self.low, self.high, out=planes)
        return planes


class Preprocessing(BaseModel):
    """The preprocessing of an image.

    `channels`: "grey" (colour is converted, alpha dropped), "rgb" (grey is repeated, alpha dropped), or "stored"
    (the image must have as many channels as the net takes).
    `scaling`: "unit" maps the full range of the pixels to 0..1, "raw" to 0..255. The full range of 16 bits is that of
    the bits in use: 0..4095 for an image of a 12-bit camera. "stored" keeps the numbers of 8 and 16 bits.
    `normalisation`: "zscore" subtracts each image's mean and divides by its standard deviation, channel by channel.
    "described" is that of a BioImage.IO package, in `described`; without a statistic, it follows the scaling.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Literal["grey", "rgb", "stored"] = "grey"
    scaling: Literal["unit", "raw", "stored"] = "unit"
    normalisation: Literal["none", "zscore", "described"] = "none"
    described: DescribedNormalisation | None = Field(None, exclude_if=lambda described: described is None)

    @model_validator(mode="after")
    def _described_is_given(self) -> "Preprocessing":
        if (self.normalisation == "described") != (self.described is not None):
            raise ValueError('normalisation "described", and no other, has the field "described"')
        return self

    @property
    def is_relative(self) -> bool:
        """True if statistics of the image decide the scale, so that the range of its pixels does not matter."""
        if self.described:
            return self.described.statistic != "none"
        return self.normalisation == "zscore"

    def arrange(self, image: Values) -> Values:
        """H x W or H x W x {1, 2, 3, 4, ...} -> H x W x C, the same type: the channels the net takes, RGB order."""
        if image.ndim == 2:
            image = image[:, :, None]
        if self.channels == "stored":
            return image
        colour = image[:, :, :3] if image.shape[2] >= 3 else image[:, :, :1]
        if self.channels == "rgb":
            return colour if colour.shape[2] == 3 else cast(Values, np.repeat(colour, 3, axis=2))
        if colour.shape[2] == 1:
            return colour
        grey: Values = cv2.cvtColor(np.ascontiguousarray(colour), cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
        return grey[:, :, None]

    def affine(self, image: Values, bits: int = 0) -> Affine:
        """The map for an image; it depends on the whole image, so that tiles agree.

        Args:
            image: H x W x C, from `arrange`.
            bits: Bits in use of 16, for nets of input that is not normalised; 0 to look at the image.
        """
        channels = image.shape[2]
        if self.described and self.is_relative:
            return self._followed(*self.described.moments(image))
        if self.normalisation != "zscore":
            return self.fixed(channels, image.dtype, bits or used_bits([image]))
        # cv2 takes at most four channels at once
        moments = [cv2.meanStdDev(np.ascontiguousarray(image[:, :, channel])) for channel in range(channels)]
        mean, deviation = (np.array([moment[part].item() for moment in moments]) for part in (0, 1))
        return z_score(mean, deviation, image.dtype)

    def fixed(self, channels: int, dtype: np.dtype[Any], bits: int = 16) -> Affine:
        """Returns the map without normalisation. It depends on the pixels' type, and for 16 bits on the bits in use."""
        full = 2.0**bits - 1 if dtype == np.uint16 else FULL_SCALE[dtype]
        unit = {"unit": full, "raw": full / 255.0, "stored": 1.0}[self.scaling]
        return self._followed(np.zeros(channels), np.full(channels, unit))

    def _followed(self, shift: NDArray[np.float64], scale: NDArray[np.float64]) -> Affine:
        """The map `(pixel - shift) / scale`, and then the fixed numbers of `described`."""
        then = self.described or DescribedNormalisation()
        scale = scale / then.gain
        shift = shift - scale * then.offset
        return Affine(shift.astype(np.float32), scale.astype(np.float32), then.low, then.high)


def used_bits(pages: Sequence[Values]) -> int:
    """Returns the bits of the sensor that 16-bit pages may come from: 8, 10, 12, 14 or 16; 16 for other pages."""
    deep = [page for page in pages if page.dtype == np.uint16]
    highest = max((int(page.max(initial=0)) for page in deep), default=65535)
    bits = sensor_bits(highest)
    # in a dark picture
    spread = bits < 16 and any(all(is_multiple(page, factor) for page in deep) for factor in SPREAD)
    return 16 if spread else bits


def bits_in_use(found: int, stated: int) -> int:
    """Returns the bits in use of 16: as many as the values need, or as the file states if these are more.

    `stated`: 0 if the file states none.
    """
    return max(found, stated if stated < 16 else 0)  # many programs state 16 for any camera


def sensor_bits(highest: int) -> int:
    """Returns the least number of bits of a sensor, 8, 10, 12, 14 or 16, that can give a value of 0..65535."""
    return next(bits for bits in _SENSOR_BITS if highest < 2**bits)


def is_multiple(pixels: Values, factor: int) -> bool:
    """True if all values are multiples of a whole number."""
    return not (pixels % factor).any()


def z_score(mean: NDArray[np.float64], deviation: NDArray[np.float64], dtype: np.dtype[Any]) -> Affine:
    """From the moments of each channel of a whole image, of pixels of that type."""
    scale = np.maximum(deviation, LEAST_DEVIATION[dtype])
    return Affine(mean.astype(np.float32), scale.astype(np.float32))
