"""The service's state: weights, engine and queue, from loading until the last request is answered."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import Protocol, TypeVar

from fastapi import Request

from app.capacity import QueueCapacity
from app.malloc import Trimmer
from app.metrics import Metrics
from app.scheduler import TileScheduler
from app.settings import Settings
from app.startup import Startup
from model.preprocessing import Values
from model.segmenter import ImageTask, Render
from model.weights_file import WeightsInfo

log = logging.getLogger(__name__)

T = TypeVar("T")


class Computing(Protocol):
    """The place where tiles are computed: this process, or a cluster."""

    def start(self, capacity: QueueCapacity, metrics: Metrics, startup: Startup) -> TileScheduler:
        """Makes it ready, in a thread of its own. What it raises ends the service."""
        ...


class Service:
    """Everything a request needs. `load` in a thread of its own makes it ready; `drain` and `close` end it."""

    def __init__(self, settings: Settings, weights: WeightsInfo, computing: Computing) -> None:
        self.settings, self.weights = settings, weights
        self.metrics = Metrics()
        self.trimmer = Trimmer()
        self.failure: Exception | None = None
        self._computing = computing
        self._scheduler: TileScheduler | None = None
        self._loaded, self._draining = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=settings.compute_threads, thread_name_prefix="codec")

    def load(self, startup: Startup | None = None) -> None:
        """Makes the engine, and is ready. Raises what `Computing.start` raises."""
        startup = startup or Startup()
        settings = self.settings
        capacity = QueueCapacity(settings.max_queue_pixels, settings.max_wait_s, self.metrics.queue_pixels)
        self._scheduler = self._computing.start(capacity, self.metrics, startup)
        running = self._running()
        self.metrics.model.info(running)
        self._loaded.set()
        chosen = {"tta": settings.tta, "threads": settings.compute_threads}
        log.info("ready", extra={"fields": {**running, **chosen, **startup.summary()}})

    def wait_until_loaded(self) -> None:
        """Blocks; `load` runs in another thread."""
        self._loaded.wait()

    def with_weights(self, weights: WeightsInfo, scheduler: TileScheduler) -> "Service":
        """Returns this service with other weights for new requests; requests in progress keep theirs."""
        other = copy(self)
        other.weights, other._scheduler = weights, scheduler
        self.metrics.model.info(other._running())
        return other

    def _running(self) -> dict[str, str]:
        engine = self.scheduler.engine
        running = {"engine": engine.name, "device": engine.device, "precision": engine.precision}
        return running | {"model": self.weights.label}

    @property
    def ready(self) -> bool:
        return self._loaded.is_set() and not self._draining.is_set() and self.healthy

    @property
    def healthy(self) -> bool:
        """Returns True if the process can answer: the engine's threads, if started, must be alive."""
        return self._scheduler is None or self._scheduler.alive

    @property
    def scheduler(self) -> TileScheduler:
        if self._scheduler is None:
            raise RuntimeError("asked for the scheduler before it was ready")
        return self._scheduler

    def task(self, image: Values, render: Render, bits: int = 0) -> ImageTask:
        """The tiles of an image. Raises ValueError: see `ImageTask`."""
        return ImageTask(image, self.weights.description, self.settings.tile, render, bits)

    async def run_in_pool(self, function: Callable[..., T], *arguments: object) -> T:
        """Runs slow work that is not the engine's (decoding, encoding) off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def drain(self) -> None:
        """Refuses new requests; accepted requests finish."""
        self._draining.set()

    def close(self) -> None:
        """Finishes the queued tiles and ends the threads."""
        self.drain()
        if self._scheduler:
            self._scheduler.close()
        self._pool.shutdown()


def service_of(request: Request) -> Service:
    """The service of the application that a request came to."""
    service: Service = request.app.state.service
    return service
