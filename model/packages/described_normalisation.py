"""Normalisation as a BioImage.IO package describes it: one statistic of the image, then fixed numbers.

Shape letters: H height, W width, C channels.
"""

from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Moments: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""What is subtracted from each channel, and what the difference is divided by."""


class DescribedNormalisation(BaseModel):
    """The numbers of a package's preprocessing.

    A value becomes `(value - a) / b * gain + offset`, and is then limited to `low` and `high`, if they are given.
    With "moments", a is the mean, and b the standard deviation plus `eps`. With "percentiles", a is the lower
    percentile, and b the distance to the upper one plus `eps`. With "none", a is 0 and b is 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    statistic: Literal["none", "moments", "percentiles"] = "none"
    together: bool = False
    percentiles: tuple[float, float] = (0.0, 100.0)
    eps: float = Field(1e-6, ge=0, allow_inf_nan=False)
    gain: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _numbers_are_usable(self) -> "DescribedNormalisation":
        if not np.isfinite((*self.gain, *self.offset)).all() or 0 in self.gain:
            raise ValueError("gain and offset must be finite, and gain must not be 0")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError("percentiles must rise, from 0 to 100")
        return self

    def moments(self, image: NDArray[Any]) -> Moments:
        """H x W x C -> a and b of each channel, see the class."""
        channels = image.shape[2]
        if self.statistic == "none":
            return np.zeros(channels), np.ones(channels)
        planes = [image] if self.together else [image[:, :, channel] for channel in range(channels)]
        measure = _mean_and_deviation if self.statistic == "moments" else self._range
        shift, scale = np.array([measure(plane) for plane in planes]).T
        return np.resize(shift, channels), np.resize(scale + self.eps, channels)

    def _range(self, plane: NDArray[Any]) -> tuple[float, float]:
        lower, upper = np.percentile(plane, self.percentiles)
        return float(lower), float(upper - lower)


def _mean_and_deviation(plane: NDArray[Any]) -> tuple[float, float]:
    mean, deviation = cv2.meanStdDev(np.ascontiguousarray(plane).reshape(-1, 1))
    return mean.item(), deviation.item()
