"""The features of the images that a net was trained on: by these, an image that looks different is noticed.

Novelty is the distance to the second nearest training image (k nearest neighbours), so it takes training images of
several kinds. A distance counts relative to those between the training images.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.inputs.features import Features, is_coloured, measure
from model.inputs.preprocessing import Preprocessing, Values

# Fewer images do not show how much images differ; of more, some from all over the data set are kept.
FEWEST, MOST = 5, 200

# Of longer sides, only the windows count that `measure` looks at.
MOST_SIDE = 256

# Novelty from which an image looks unlike the training images, measured by `benchmarks.doubts`.
UNLIKE = 2.0

# The neighbour whose distance counts, and the share of the training images that are nearer to theirs than 1.
_NEIGHBOUR = 2
_USUAL = 0.75

# Differences of a feature below this are as good as none, so that training images that are nearly equal differ from
# an image of the same kind by not too many standard deviations.
_LEAST_SPREAD = 0.05

_Column = Annotated[list[Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]], Field(max_length=MOST)]


@dataclass(frozen=True)
class Novelty:
    """The unlikeness of an image to the training images."""

    score: float
    """Distance to the training images; 1 is usual, and from `UNLIKE` on the image looks different."""
    features: Features
    """The features of the image."""
    nearest: Features
    """The features of the nearest training image."""
    differences: Features
    """The difference of the two in each feature, in standard deviations."""


class KnownImages(BaseModel):
    """Features of training images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: dict[str, _Column] = Field(min_length=1, max_length=64, repr=False)
    """The values of each feature, image by image."""
    coloured: bool = False
    """True if any of the images is in colour, whatever the net sees of it."""
    side: int = Field(64, ge=1, le=MOST_SIDE)
    """The usual shorter side of the images in pixels, 256 at most."""

    @model_validator(mode="after")
    def _columns_are_equally_long(self) -> "KnownImages":
        lengths = {len(column) for column in self.features.values()}
        if len(lengths) > 1 or min(lengths) < FEWEST:
            raise ValueError(f"columns of {sorted(lengths)} images; equal lengths of at least {FEWEST} are accepted")
        return self

    @classmethod
    def of(
        cls, images: Iterable[Values], preprocessing: Preprocessing, bits: Iterable[int] = repeat(0)
    ) -> "KnownImages | None":
        """Measures at most `MOST` images, H x W or H x W x C each; None if fewer than five of them are large enough.

        `bits`: The bits in use of each image, see `Preprocessing.affine`.
        """
        rows, sides, coloured = list[Features](), list[int](), False
        for image, used in zip(images, bits, strict=False):
            sides.append(min(*image.shape[:2], MOST_SIDE))
            coloured = coloured or is_coloured(image)
            if row := measure(image, preprocessing, used):
                rows.append(row)
        if len(rows) < FEWEST:
            return None
        features = {name: [round(row[name], 3) for row in rows] for name in rows[0]}
        return cls(features=features, coloured=coloured, side=int(np.median(sides)))

    def can_judge(self, image: Values) -> bool:
        """Returns True if an image has at least half the usual side: a small part of an image looks different."""
        return bool(2 * min(image.shape[:2]) >= self.side)

    def novelty(self, features: Features) -> Novelty | None:
        """Compares an image; None if not all features are known, as those of weights of a later version."""
        if not features.keys() >= self.features.keys():
            return None
        values = np.array([features[name] for name in self.features]) / self._spread
        distances = np.sqrt(np.mean((self._scaled - values) ** 2, axis=1))
        nearest = int(distances.argmin())
        return Novelty(
            score=float(np.sort(distances)[_NEIGHBOUR - 1] / self._usual_distance),
            features=features,
            nearest={name: column[nearest] for name, column in self.features.items()},
            differences=dict(zip(self.features, (values - self._scaled[nearest]).tolist(), strict=True)),
        )

    @cached_property
    def _spread(self) -> NDArray[np.float64]:
        """The standard deviation of each feature."""
        spread: NDArray[np.float64] = np.std(list(self.features.values()), axis=1) + _LEAST_SPREAD
        return spread

    @cached_property
    def _scaled(self) -> NDArray[np.float64]:
        """Images x features, in standard deviations."""
        scaled: NDArray[np.float64] = np.array(list(self.features.values())).T / self._spread
        return scaled

    @cached_property
    def _usual_distance(self) -> float:
        """The distance to the second nearest other image that three quarters of the images do not exceed."""
        distances = np.sqrt(np.mean((self._scaled[:, None] - self._scaled) ** 2, axis=2))
        own = np.sort(distances, axis=1)[:, _NEIGHBOUR]  # the nearest is the image itself
        return max(float(np.quantile(own, _USUAL)), 1e-6)


def from_all_over(count: int, most: int = MOST) -> list[int]:
    """Returns at most `most` numbers of images, evenly spaced over a data set of `count` images."""
    indices: list[int] = np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
    return indices
