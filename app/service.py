"""The service's state: weights, engine and queue, from loading until the last request is answered."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch

from app.metrics import Metrics
from app.scheduler import Scheduler
from app.settings import Settings, SettingsError
from model.engine import EngineError, TorchEngine, choose_device, choose_precision
from model.segmenter import Segmenter
from model.tiles import plan_tiles
from model.weights_file import BUNDLED, Weights, WeightsError, load_weights

log = logging.getLogger(__name__)

T = TypeVar("T")

# The first run of a shape is slower than all later ones; this is the shape that most requests have.
WARM_UP_SIDE = 512


class Service:
    """Everything a request needs. `load` in a thread of its own makes it ready; `drain` and `close` end it."""

    def __init__(self, settings: Settings, weights: Weights) -> None:
        """Raises SettingsError if device, precision or tile are not for this machine and these weights."""
        check_settings(settings, weights)
        self.settings, self.weights = settings, weights
        self.metrics = Metrics()
        self.failure: str | None = None
        self._segmenter: Segmenter | None = None
        self._scheduler: Scheduler | None = None
        self._loaded = threading.Event()
        self._draining = False
        self._pool = ThreadPoolExecutor(max_workers=settings.compute_threads, thread_name_prefix="codec")

    def load(self) -> None:
        """Makes the engine, runs it once, and is ready. Raises RuntimeError if the device fails."""
        started = time.perf_counter()
        settings, description = self.settings, self.weights.description
        set_threads(settings.compute_threads)
        engine = TorchEngine(self.weights.build_net(), settings.device, settings.precision, description.threshold)
        segmenter = Segmenter(self.weights, engine, tile=settings.tile, max_batch=settings.max_batch, tta=settings.tta)
        built = time.perf_counter()
        channels = description.architecture.in_channels
        segmenter.probabilities(np.zeros((WARM_UP_SIDE, WARM_UP_SIDE, channels), np.uint8))
        self._segmenter = segmenter
        self._scheduler = Scheduler(segmenter, settings.max_queue_pixels, self.metrics)
        running = {"engine": engine.name, "device": engine.device, "precision": engine.precision}
        running["model"] = self.weights.label
        self.metrics.model.info(running)
        self._loaded.set()
        times = {"build": built - started, "warm_up": time.perf_counter() - built}
        fields = {f"{stage}_ms": round(1000 * seconds) for stage, seconds in times.items()}
        chosen = {"tta": settings.tta, "threads": settings.compute_threads}
        log.info("ready", extra={"fields": {**running, **chosen, **fields}})

    @property
    def ready(self) -> bool:
        return self._loaded.is_set() and not self._draining

    @property
    def healthy(self) -> bool:
        """Whether the process can still answer: the engine's thread, once started, must be alive."""
        return self._scheduler is None or self._scheduler.alive

    @property
    def segmenter(self) -> Segmenter:
        if self._segmenter is None:
            raise RuntimeError("asked for the segmenter before it was ready")
        return self._segmenter

    @property
    def scheduler(self) -> Scheduler:
        if self._scheduler is None:
            raise RuntimeError("asked for the scheduler before it was ready")
        return self._scheduler

    async def in_pool(self, function: Callable[..., T], *arguments: object) -> T:
        """Runs what is neither quick nor the engine's (decoding, encoding) off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def drain(self) -> None:
        """From now on not ready; what was accepted goes on."""
        self._draining = True

    def close(self) -> None:
        """Finishes what is queued and ends the threads."""
        self.drain()
        if self._scheduler:
            self._scheduler.close()
        self._pool.shutdown()


def set_threads(compute: int) -> None:
    """The one place where thread counts are set: torch has all of them, cv2 works within its caller's thread."""
    torch.set_num_threads(compute)
    cv2.setNumThreads(0)


def check_settings(settings: Settings, weights: Weights) -> None:
    """What can only be checked with the machine and the weights at hand. Raises SettingsError."""
    architecture = weights.description.architecture
    try:
        choose_precision(choose_device(settings.device), settings.precision)
        plan_tiles(1, 1, tile=settings.tile, halo=architecture.halo, grid=architecture.grid)
    except EngineError as error:
        raise SettingsError(
            f"SEGMENT_DEVICE={settings.device} SEGMENT_PRECISION={settings.precision}: {error}"
        ) from error
    except ValueError as error:
        raise SettingsError(f"SEGMENT_TILE={settings.tile}: {error}") from error


def find_weights(setting: Path | None) -> Path:
    """The weights file a setting means: itself, a folder's newest, or the bundled one. Raises WeightsError."""
    if setting is None:
        return BUNDLED
    try:
        if not setting.is_dir():
            return setting
        found = [path for path in setting.glob("*.safetensors") if not path.name.startswith(".")]
        return max(found, key=lambda path: path.stat().st_mtime, default=BUNDLED)
    except OSError as error:
        raise WeightsError(f"weights {setting}: cannot be read ({error.strerror})") from error


def read_weights(setting: Path | None) -> Weights:
    """The weights a setting means. Raises WeightsError."""
    path = find_weights(setting)
    weights = load_weights(path)
    log.info("weights", extra={"fields": {"file": path, "model": weights.label}})
    return weights
