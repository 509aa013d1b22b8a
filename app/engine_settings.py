"""The engine that the settings choose for weights on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch

from app.settings import Settings, SettingsError
from model.engines.choice import Choice, choose
from model.engines.engine import EngineError
from model.engines.graph_weights import AnyWeights
from model.segmenter import check_tile


def set_threads(compute: int) -> None:
    """Sets thread counts: torch gets all threads, as OpenVINO does; OpenCV works within its caller's thread."""
    torch.set_num_threads(compute)
    cv2.setNumThreads(0)


def check_settings(settings: Settings, weights: AnyWeights) -> Choice:
    """Chooses the engine for these weights on this machine. Raises SettingsError if a setting does not fit them."""
    try:
        check_tile(weights.description, settings.tile)
    except ValueError as error:
        raise SettingsError(f"SEGMENT_TILE={settings.tile}: {error}") from error
    with engine_problems(settings):
        return choose(weights, settings.engine, settings.device, settings.precision)


@contextmanager
def engine_problems(settings: Settings) -> Iterator[None]:
    """Raises SettingsError, which names the settings, in place of EngineError."""
    try:
        yield
    except EngineError as error:
        chosen = {name: getattr(settings, name) for name in ("engine", "device", "precision")}
        given = " ".join(f"SEGMENT_{name.upper()}={value}" for name, value in chosen.items() if value != "auto")
        raise SettingsError(f"{given}: {error}") from error
