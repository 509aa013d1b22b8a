"""Parts that all peers share with the service's torch engine: weights, engine, threads, decoding, encoding."""

import cv2
import numpy as np

from app.engine_settings import set_threads
from app.local_backend import find_nets
from app.settings import load_settings
from model.engines.choice import make_engine
from model.engines.engine import Array
from model.images.encoding import encode_png
from model.segmenter import Segmenter, to_mask


def address() -> tuple[str, int]:
    """Host and port to listen on, from the service's settings."""
    settings = load_settings()
    return settings.host, settings.port


def load_segmenter() -> Segmenter:
    """Loads the weights as the service does, with the same threads; the benchmark sets SEGMENT_ENGINE."""
    settings = load_settings()
    file, weights = find_nets(settings).nets[0]
    set_threads(settings.compute_threads)
    engine = make_engine(weights, file.choice, settings.compute_threads)
    return Segmenter(weights, engine, tile=settings.tile, max_batch=settings.max_batch, tta=settings.tta)


def to_input(segmenter: Segmenter, data: bytes) -> Array:
    """The bytes of an image file of one tile -> C x H x W float32."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    task = segmenter.task(pixels)  # type: ignore[arg-type]  # cv2's stubs allow any type of pixel
    return task.cut(task.tiles[0]).to_input()


def to_png(segmenter: Segmenter, probabilities: Array) -> bytes:
    """K x H x W -> the mask's PNG."""
    return encode_png(to_mask(probabilities, segmenter.description.threshold))
