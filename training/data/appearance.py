"""Numbers that compare images with each other at a glance: small thumbnails, brightness, colour, shares of classes.

Shape letters: N images, F features, K classes.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.inputs.preprocessing import FULL_SCALE, Values
from training.data.folder import IGNORED, Sample

# Side of a thumbnail, pixels: the layout of a scene, without its details.
_SIDE = 8

# Images on each side of a cut that are compared: one that looks different in the middle of a sequence makes no cut.
_AROUND = 3


@dataclass(frozen=True, eq=False)
class Appearance:
    """The looks of images, and the classes that their labels have.

    Attributes:
        thumbnails: N x 64 float32, grey values 0..1 of 8 x 8 pixels.
        features: N x F float64, each feature with mean 0 and deviation 1 over the images (or 0 where all are equal).
        present: N x K bool, True where the image's label has pixels of the class.
    """

    thumbnails: NDArray[np.float32]
    features: NDArray[np.float64]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, samples: list[Sample]) -> "Appearance":
        """Looks at every image and label once; at least one sample is needed."""
        thumbnails, looks, counts = [], [], []
        for sample in samples:
            small = _thumbnail(sample.pixels)
            grey = small.mean(axis=2)
            thumbnails.append(grey.ravel())
            looks.append([grey.mean(), grey.std(), np.ptp(small, axis=2).mean(), np.log(sample.label.size)])
            counts.append(np.bincount(sample.label.ravel(), minlength=IGNORED + 1)[:IGNORED])
        highest = max(int(np.flatnonzero(count).max(initial=1)) for count in counts)
        pixels = np.array(counts, np.int64)[:, : highest + 1]
        # square roots: 1% or 2% of a rare class differ as much as 25% or 33% of a frequent one
        shares = np.sqrt(pixels / np.maximum(1, pixels.sum(axis=1, keepdims=True)))
        features = np.hstack([np.array(looks, np.float64), shares])
        features -= features.mean(axis=0)
        deviation = features.std(axis=0)
        features /= np.where(deviation > 1e-9, deviation, np.inf)
        return cls(np.array(thumbnails, np.float32), features, pixels > 0)

    def changes(self) -> NDArray[np.float32]:
        """N - 1 differences: the one at index i is between the images up to i and those from i + 1 on.

        The smallest mean difference of grey values between one of three images before and one of three after.
        """
        differences = []
        for cut in range(1, len(self.thumbnails)):
            before, after = self.thumbnails[max(0, cut - _AROUND) : cut], self.thumbnails[cut : cut + _AROUND]
            differences.append(np.abs(before[:, None] - after[None]).mean(axis=2).min())
        return np.array(differences, np.float32)


def _thumbnail(pixels: Values) -> NDArray[np.float32]:
    """8 x 8 x 1 or 8 x 8 x 3 float32 in 0..1; alpha is dropped, and so is what is beyond three channels."""
    planes = pixels[:, :, None] if pixels.ndim == 2 else pixels[:, :, : 3 if pixels.shape[2] >= 3 else 1]
    small = cv2.resize(np.ascontiguousarray(planes), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return small.reshape(_SIDE, _SIDE, -1).astype(np.float32) / np.float32(FULL_SCALE[pixels.dtype])
