"""The service's state: weights, engine and queue, from loading until the last request is answered."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import cv2
import torch
from fastapi import Request

from app.canary import run_canary
from app.memory import Trimmer
from app.metrics import Metrics
from app.room import Room
from app.scheduler import Scheduler
from app.settings import Settings, SettingsError
from app.startup import Startup
from model.engines.choice import Choice, bundled_weights, choose, make_engine
from model.engines.engine import EngineError
from model.segmenter import Segmenter
from model.tiles import plan_tiles
from model.weights_file import SUFFIXES, Weights, WeightsError, load_weights

log = logging.getLogger(__name__)

T = TypeVar("T")


class Service:
    """Everything a request needs. `load` in a thread of its own makes it ready; `drain` and `close` end it."""

    def __init__(self, settings: Settings, weights: Weights) -> None:
        """Raises SettingsError if engine, device, precision or tile are not for this machine and these weights."""
        self._choice = check_settings(settings, weights)
        self.settings, self.weights = settings, weights
        self.metrics = Metrics()
        self.trimmer = Trimmer()
        self.failure: Exception | None = None
        self._segmenter: Segmenter | None = None
        self._scheduler: Scheduler | None = None
        self._loaded = threading.Event()
        self._draining = False
        self._pool = ThreadPoolExecutor(max_workers=settings.compute_threads, thread_name_prefix="codec")

    def load(self, startup: Startup | None = None) -> None:
        """Makes the engine, warms it up with the canary, and is ready.

        Raises WeightsError if what the weights give here is no probabilities, RuntimeError if the device fails.
        """
        startup = startup or Startup()
        settings = self.settings
        set_threads(settings.compute_threads)
        engine = make_engine(self.weights, self._choice, settings.compute_threads)
        segmenter = Segmenter(self.weights, engine, tile=settings.tile, max_batch=settings.max_batch, tta=settings.tta)
        startup.done("build")
        run_canary(segmenter)
        startup.done("warm_up")
        self._segmenter = segmenter
        room = Room(settings.max_queue_pixels, settings.max_wait_s, self.metrics.queue_pixels)
        self._scheduler = Scheduler(segmenter, room, self.metrics)
        running = {"engine": engine.name, "device": engine.device, "precision": engine.precision}
        running["model"] = self.weights.label
        self.metrics.model.info(running)
        self._loaded.set()
        chosen = {"tta": settings.tta, "threads": settings.compute_threads}
        log.info("ready", extra={"fields": {**running, **chosen, **startup.summary()}})

    @property
    def ready(self) -> bool:
        return self._loaded.is_set() and not self._draining and self.healthy

    @property
    def healthy(self) -> bool:
        """Whether the process can still answer: the engine's threads, once started, must be alive."""
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


def service_of(request: Request) -> Service:
    """The service of the application that a request came to."""
    service: Service = request.app.state.service
    return service


def set_threads(compute: int) -> None:
    """Where thread counts are set: torch has all of them, as OpenVINO has; cv2 works within its caller's thread."""
    torch.set_num_threads(compute)
    cv2.setNumThreads(0)


def check_settings(settings: Settings, weights: Weights) -> Choice:
    """What can only be checked with the machine and the weights at hand: the engine to make. Raises SettingsError."""
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
    """The weights file a setting means: itself, a folder's newest, or the bundled one that suits the engine best.

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


def read_weights(settings: Settings) -> Weights:
    """The weights that the settings mean. Raises SettingsError, WeightsError."""
    path = find_weights(settings)
    weights = load_weights(path)
    log.info("weights", extra={"fields": {"file": path, "model": weights.label, "sha256": weights.sha256}})
    return weights
