"""Pictures of two kinds, for tests of what a net knows."""

import cv2
import numpy as np
from numpy.typing import NDArray


def blobs(seed: int, side: int = 128, grain: int = 16) -> NDArray[np.uint8]:
    """Side x side: soft bright and dark patches of about `grain` pixels, with a little noise; another one by seed."""
    random = np.random.default_rng(seed)
    coarse = random.random((side // grain, side // grain)).astype(np.float32)
    soft = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    noisy = soft + 0.02 * random.standard_normal((side, side))
    return (40 + 150 * np.clip(noisy, 0, 1)).astype(np.uint8)


def tinted(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """H x W -> H x W x 3, with a green that fades from left to right."""
    fade = np.linspace(0, 1, picture.shape[1])
    return np.dstack([picture, (picture * fade).astype(np.uint8), 255 - picture])
