"""The backend of one machine: weights and engine, as the settings choose them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import torch

from app.canary import run_canary
from app.capacity import QueueCapacity
from app.local_scheduler import LocalScheduler
from app.metrics import Metrics
from app.scheduler import TileScheduler
from app.settings import Settings, SettingsError
from app.startup import Startup
from model.engines.choice import Choice, bundled_weights, choose, make_engine
from model.engines.engine import EngineError
from model.engines.graph_weights import GraphWeights, load_any
from model.segmenter import Segmenter
from model.tiles import plan_tiles
from model.weights_file import SUFFIXES, Weights, WeightsError

log = logging.getLogger(__name__)


class LocalBackend:
    """The engine of this process: chosen by the constructor, built by `start`."""

    def __init__(self, settings: Settings, weights: Weights | GraphWeights) -> None:
        """Raises SettingsError if engine, device, precision or tile do not fit this machine and these weights."""
        self._settings, self._weights = settings, weights
        self._choice = check_settings(settings, weights)

    def start(self, capacity: QueueCapacity, metrics: Metrics, startup: Startup) -> TileScheduler:
        """Builds the engine, warms it up with the canary image, and starts its scheduler.

        Raises WeightsError if the results are not probabilities, RuntimeError if the device fails.
        """
        settings = self._settings
        set_threads(settings.compute_threads)
        engine = make_engine(self._weights, self._choice, settings.compute_threads)
        segmenter = Segmenter(self._weights, engine, tile=settings.tile, max_batch=settings.max_batch, tta=settings.tta)
        startup.done("build")
        run_canary(segmenter)
        startup.done("warm_up")
        return LocalScheduler(segmenter, capacity, metrics)


def set_threads(compute: int) -> None:
    """Sets thread counts: torch gets all threads, as OpenVINO does; OpenCV works within its caller's thread."""
    torch.set_num_threads(compute)
    cv2.setNumThreads(0)


def check_settings(settings: Settings, weights: Weights | GraphWeights) -> Choice:
    """Chooses the engine for these weights on this machine. Raises SettingsError if a setting does not fit them."""
    architecture = weights.description.architecture
    try:
        plan_tiles(1, 1, tile=settings.tile, halo=architecture.halo, grid=architecture.grid)
    except ValueError as error:
        raise SettingsError(f"SEGMENT_TILE={settings.tile}: {error}") from error
    with _engine_problems(settings):
        return choose(weights, settings.engine, settings.device, settings.precision)


@contextmanager
def _engine_problems(settings: Settings) -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        chosen = {name: getattr(settings, name) for name in ("engine", "device", "precision")}
        given = " ".join(f"SEGMENT_{name.upper()}={value}" for name, value in chosen.items() if value != "auto")
        raise SettingsError(f"{given}: {error}") from error


def find_weights(settings: Settings) -> Path:
    """Finds the weights file of the setting: a file, the newest in a folder, or the bundled one that suits the engine.

    Raises SettingsError, WeightsError.
    """
    with _engine_problems(settings):
        bundled = bundled_weights(settings.engine, settings.device, settings.precision)
    if settings.weights is None:
        return bundled
    try:
        if not settings.weights.is_dir():
            return settings.weights
        found = [path for path in settings.weights.iterdir() if path.suffix in SUFFIXES and path.name[0] != "."]
        return max(found, key=lambda path: path.stat().st_mtime, default=bundled)
    except OSError as error:
        raise WeightsError(f"weights {settings.weights}: cannot be read ({error.strerror})") from error


def read_weights(settings: Settings) -> Weights | GraphWeights:
    """Loads the weights that the settings choose. Raises SettingsError, WeightsError."""
    path = find_weights(settings)
    weights = load_any(path)
    log.info("weights", extra={"fields": {"file": path, "model": weights.label, "sha256": weights.sha256}})
    return weights
