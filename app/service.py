"""The service's state: the served nets and the queue, from loading until the last request is answered."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from fastapi import Request

from app.capacity import QueueCapacity
from app.malloc import Trimmer
from app.metrics import Metrics
from app.problems import not_ready_problem
from app.request_progress import ProgressBoard
from app.saving.label_store import open_store
from app.served_net import RefusedFile, ServedNet
from app.served_nets import ServedNets
from app.settings import Settings
from app.startup import Startup

log = logging.getLogger(__name__)

T = TypeVar("T")


class Computing(Protocol):
    """The place where tiles are computed: this process, or a cluster."""

    def start(self, capacity: QueueCapacity, metrics: Metrics, startup: Startup) -> ServedNets:
        """Makes the nets ready, in a thread of its own. What it raises ends the service."""
        ...


class Service:
    """Everything a request needs. `load` in a thread of its own makes it ready; `drain` and `close` end it."""

    def __init__(self, settings: Settings, computing: Computing) -> None:
        """Opens the folder of SEGMENT_LABELS, if there is one. Raises SettingsError if it cannot be written to."""
        self.settings = settings
        self.metrics = metrics = Metrics()
        self.capacity = QueueCapacity(settings.max_queue_pixels, settings.max_wait_s, metrics.queue_pixels)
        self.progress = ProgressBoard()
        self.label_store = open_store(settings, self.metrics)
        self.trimmer = Trimmer()
        self.failure: Exception | None = None
        self.refused: tuple[RefusedFile, ...] = ()
        """Weights files that the service does not serve, the newest first."""
        self.computing = computing
        self._nets: ServedNets | None = None
        self._loaded, self._draining = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=settings.compute_threads, thread_name_prefix="codec")

    def load(self, startup: Startup | None = None) -> None:
        """Makes the engine, and is ready. Raises what `Computing.start` raises."""
        startup = startup or Startup()
        self.serve(self.computing.start(self.capacity, self.metrics, startup))
        self._loaded.set()
        chosen = {"tta": self.settings.tta, "threads": self.settings.compute_threads}
        nets = {"models": [net.label for net in self.nets]}
        log.info("ready", extra={"fields": {**_running(self.net), **nets, **chosen, **startup.summary()}})

    def wait_until_loaded(self) -> None:
        """Blocks; `load` runs in another thread."""
        self._loaded.wait()

    @property
    def nets(self) -> ServedNets:
        """The nets for new requests. A request reads them once, at its start. Raises RuntimeError before `load`."""
        if self._nets is None:
            raise RuntimeError("asked for the nets before they were ready")
        return self._nets

    @property
    def net(self) -> ServedNet:
        """The default net for new requests, see `nets`."""
        return self.nets.default

    def serve(self, nets: ServedNets) -> None:
        """Serves other nets to new requests; requests in progress keep theirs."""
        self._nets = nets
        self.metrics.model.info(_running(nets.default))
        self.metrics.weights_loaded.set(nets.default.loaded_at.timestamp())

    @property
    def loaded(self) -> bool:
        return self._loaded.is_set()

    @property
    def ready(self) -> bool:
        return self.loaded and not self._draining.is_set() and self.healthy

    @property
    def healthy(self) -> bool:
        """Returns True if the process can answer: the engine's threads, if started, must be alive."""
        return self._nets is None or self.net.scheduler.alive

    async def run_in_pool(self, function: Callable[..., T], *arguments: object) -> T:
        """Runs slow work that is not the engine's (decoding, encoding) off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def drain(self) -> None:
        """Refuses new requests; accepted requests finish."""
        self._draining.set()

    def close(self) -> None:
        """Finishes the queued tiles and ends the threads."""
        self.drain()
        if self._nets:
            self.net.scheduler.close()
        self._pool.shutdown()
        if self.label_store:
            self.label_store.close()


def _running(net: ServedNet) -> dict[str, str]:
    engine = net.engine
    running = {"engine": engine.name, "device": engine.device, "precision": engine.precision}
    return running | {"model": net.label}


def service_of(request: Request) -> Service:
    """The service of the application that a request came to."""
    service: Service = request.app.state.service
    return service


def ready_service_of(request: Request) -> Service:
    """Returns the service of the application that a request came to. Raises Problem: 503, it starts or drains."""
    service = service_of(request)
    if not service.ready:
        raise not_ready_problem()
    return service
