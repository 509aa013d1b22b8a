"""Features of an image as a net sees it, for novelty detection: fineness, tones and colours.

For a net of z-scored input no feature depends on brightness or contrast, because its input does not.
The cost is bounded: of a large image, windows all over it are measured.

Shape letters: H height, W width, C channels.
"""

from typing import TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from model.inputs.preprocessing import LEAST_DEVIATION, Preprocessing, Values, used_bits

Features: TypeAlias = dict[str, float]
"""Features by their names, which begin with the name of a group: fineness, tones, channels, brightness."""

# Side of a window in pixels, and how many of them lie in a row and in a column of a larger image.
_SIDE = 64
_WINDOWS = 4

# Scales of structure, each twice as coarse as the one before: 1, 2, 4, 8, 16 and 32 pixels.
OCTAVES = 6

# Quantiles of the grey values.
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

# Mean difference of two of the channels red, green and blue from which a picture is in colour, as a share of the
# brightest value.
_COLOURED = 0.02

# A share of the variance that is as good as none, so that logarithms stay finite.
LEAST_SHARE = 1e-3


def measure(image: Values, preprocessing: Preprocessing, bits: int = 0) -> Features | None:
    """Measures an image.

    Args:
        image: H x W or H x W x C, as read from a file.
        preprocessing: What the net sees of an image.
        bits: Bits in use of 16, see `Preprocessing.affine`.

    Returns:
        The same names for each image of a net; None for an image with fewer than 64 pixels on a side.
    """
    if min(image.shape[:2]) < _SIDE:
        return None
    pixels = preprocessing.arrange(_windows(image))
    levels = _halvings(_grey(pixels))
    mean, deviation = _moments(levels[0])
    spread = max(deviation, LEAST_DEVIATION[image.dtype])
    features = {**_fineness(levels, spread), **_tones(levels[2], mean, spread), **_channels(pixels)}
    if preprocessing.normalisation == "none":
        scale = float(preprocessing.fixed(1, image.dtype, bits or used_bits([image])).scale[0])
        features |= {"brightness mean": mean / scale, "brightness deviation": deviation / scale}
    return features


def is_coloured(image: Values) -> bool:
    """Returns True if the red, green and blue channels of a picture differ clearly; not for one in hues of grey."""
    if image.ndim == 2 or image.shape[2] not in (3, 4):
        return False
    red, green, blue = _thinned(_windows(image))[:3]
    difference = max(np.abs(red - green).mean(), np.abs(green - blue).mean())
    return bool(difference > _COLOURED * max(red.max(), green.max(), blue.max()))


def _windows(image: Values) -> Values:
    """Joins windows from all over the image: a multiple of 64 pixels a side, 256 at most; less of a small image."""
    rows, columns = _spans(image.shape[0]), _spans(image.shape[1])
    joined = [np.concatenate([image[top, left] for left in columns], axis=1) for top in rows]
    return cast(Values, np.concatenate(joined))


def _spans(size: int) -> list[slice]:
    """Returns the middle of a short side, or windows that are evenly spaced over a long side."""
    if size <= _SIDE * _WINDOWS:
        whole = size // _SIDE * _SIDE or size
        return [slice((size - whole) // 2, (size + whole) // 2)]
    starts = np.linspace(0, size - _SIDE, _WINDOWS).astype(int).tolist()
    return [slice(start, start + _SIDE) for start in starts]


def _thinned(pixels: Values) -> NDArray[np.float32]:
    """H x W x C -> C x pixels, every fourth pixel of every fourth row."""
    thinned = pixels[::4, ::4].reshape(-1, pixels.shape[2]).T
    return np.ascontiguousarray(thinned, np.float32)


def _grey(pixels: Values) -> NDArray[np.float32]:
    """H x W x C -> H x W."""
    channels = pixels.shape[2]
    if channels == 3:
        return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = pixels[:, :, 0] if channels == 1 else pixels.mean(axis=2, dtype=np.float32)
    return cast(NDArray[np.float32], grey.astype(np.float32))


def _halvings(grey: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Returns the image, and its means over squares of 2, 4, 8 ... pixels."""
    levels = [grey]
    for _ in range(OCTAVES):
        height, width = levels[-1].shape
        levels.append(cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
    return levels


def _moments(values: NDArray[np.float32]) -> tuple[float, float]:
    """Mean and standard deviation."""
    mean, deviation = cv2.meanStdDev(values)
    return float(mean[0, 0]), float(deviation[0, 0])


def _fineness(levels: list[NDArray[np.float32]], spread: float) -> Features:
    """The share of the variance at each scale, as a natural logarithm: what averaging over larger squares removes."""
    variances = np.array([_moments(level)[1] ** 2 for level in levels])
    shares = np.maximum(variances[:-1] - variances[1:], 0) / spread**2
    logarithms = np.log(shares + LEAST_SHARE).tolist()
    return {f"fineness {2**octave}": value for octave, value in enumerate(logarithms)}


def _tones(grey: NDArray[np.float32], mean: float, spread: float) -> Features:
    """Quantiles of the grey values, in standard deviations from the mean."""
    places = [round(quantile * (grey.size - 1)) for quantile in _QUANTILES]
    ordered = np.partition(grey, places, axis=None)
    return {
        f"tones {quantile}": (float(ordered[place]) - mean) / spread
        for quantile, place in zip(_QUANTILES, places, strict=True)
    }


def _channels(pixels: Values) -> Features:
    """Correlations of each channel with the next one; 1 where both are the same, 0 where one is constant."""
    channels = pixels.shape[2]
    if channels == 1:
        return {}
    values = _thinned(pixels)
    values -= values.mean(axis=1, keepdims=True)
    spread = np.maximum(values.std(axis=1), LEAST_DEVIATION[pixels.dtype])
    covariances = values @ values.T / values.shape[1]
    pairs = [(index, (index + 1) % channels) for index in range(channels)]
    return {f"channels {one}": float(covariances[one, other] / spread[one] / spread[other]) for one, other in pairs}
