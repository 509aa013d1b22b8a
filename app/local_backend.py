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
from app.served_net import NetName, ServedNet
from app.settings import Settings, SettingsError
from app.startup import Startup
from app.weights_source import list_weights
from model.engines.choice import Choice, bundled_weights, choose, make_engine
from model.engines.engine import EngineError
from model.engines.graph_weights import GraphWeights, load_any
from model.segmenter import Segmenter
from model.tiles import plan_tiles
from model.weights_file import Weights, WeightsError, WeightsInfo, read_is_unfinished

log = logging.getLogger(__name__)


class LocalBackend:
    """The engine of this process: chosen by the constructor, built by `start`."""

    def __init__(self, settings: Settings, weights: Weights | GraphWeights, file: str) -> None:
        """Checks the settings.

        Args:
            settings: The settings of the service.
            weights: The weights.
            file: Name of the weights file, without its folder.

        Raises:
            SettingsError: Engine, device, precision or tile do not fit this machine and these weights.
        """
        self._settings, self._weights, self._file = settings, weights, file
        self._choice = check_settings(settings, weights)

    def start(self, capacity: QueueCapacity, metrics: Metrics, startup: Startup) -> ServedNet:
        """Builds the engine, warms it up with the canary image, and starts its scheduler.

        Raises WeightsError if the results are not probabilities, RuntimeError if the device fails.
        """
        set_threads(self._settings.compute_threads)
        segmenter = self._build()
        startup.done("build")
        run_canary(segmenter)
        startup.done("warm_up")
        return self._net(LocalScheduler(segmenter, capacity, metrics))

    def replace(self, served: ServedNet) -> ServedNet:
        """Returns a net with these weights that shares the queue of the served net. Raises what `start` raises.

        The served net computes requests meanwhile.
        """
        assert isinstance(served.scheduler, LocalScheduler)  # noqa: S101
        segmenter = self._build()
        run_canary(segmenter)
        return self._net(served.scheduler.serving(segmenter), served.name)

    def _build(self) -> Segmenter:
        settings = self._settings
        engine = make_engine(self._weights, self._choice, settings.compute_threads)
        return Segmenter(self._weights, engine, tile=settings.tile, max_batch=settings.max_batch, tta=settings.tta)

    def _net(self, scheduler: LocalScheduler, former: NetName | None = None) -> ServedNet:
        identity = WeightsInfo(self._weights.description, self._weights.sha256)
        return ServedNet(identity, scheduler, self._file, self._settings.tile, former)


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

    In a folder, weights of a training that has not ended are passed over. Raises SettingsError, WeightsError.
    """
    with _engine_problems(settings):
        bundled = bundled_weights(settings.engine, settings.device, settings.precision)
    if settings.weights is None:
        return bundled
    try:
        if not settings.weights.is_dir():
            return settings.weights
        return next((path for path in list_weights(settings.weights) if not read_is_unfinished(path)), bundled)
    except OSError as error:
        raise WeightsError(f"weights {settings.weights}: cannot be read ({error.strerror})") from error


def read_weights(path: Path) -> Weights | GraphWeights:
    """Loads weights and logs which they are. Raises WeightsError."""
    weights = load_any(path)
    log.info("weights", extra={"fields": {"file": path, "model": weights.label, "sha256": weights.sha256}})
    if weights.description.is_unfinished:
        log.warning("the training of these weights has not ended", extra={"fields": {"file": path}})
    return weights
