"""Decoding by OpenCV: PNG, WebP, and JPEG in ink colours."""

import cv2
import numpy as np

from model.images.image_errors import UnsupportedImage
from model.inputs.preprocessing import STORED, Pixels


def decode_by_opencv(data: bytes) -> Pixels:
    """The first picture of a file, H x W or H x W x 3 or 4. Raises UnsupportedImage, ValueError, cv2.error."""
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise ValueError("imdecode gives nothing")
    return _in_rgb_order(stored)


def _in_rgb_order(stored: cv2.typing.MatLike) -> Pixels:
    if stored.dtype not in STORED:
        raise UnsupportedImage(f"Pixels of type {stored.dtype} are not accepted: 8 or 16 bits unsigned are.")
    if stored.ndim == 2:
        return stored  # type: ignore[return-value]
    order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}[stored.shape[2]]
    return cv2.cvtColor(stored, order, dst=stored)  # type: ignore[return-value]
