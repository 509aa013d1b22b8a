"""The deployment that computes: each replica has the weights once, and batches the tiles of all fronts."""

import asyncio
import logging
import math
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import serve

from app.capacity import QueueCapacity
from app.local_backend import LocalBackend, find_weights
from app.logs import configure_logs
from app.metrics import Metrics
from app.ray_serve.messages import UNUSABLE, Finished, Reference, Running, Served, weights_of
from app.served_net import ServedNet
from app.settings import Settings, load_settings
from app.startup import Startup
from model.engines.graph_weights import load_any
from model.segmenter import Task, TileInput, as_they_are
from model.tiles import Span, Tile
from model.weights_file import WeightsError, WeightsInfo

log = logging.getLogger(__name__)

# Weights that are kept loaded: those that are served and, while they change, those of the requests on their way.
KEPT = 2


class TileInputTask(Task):
    """A tile of an image that is elsewhere."""

    def __init__(self, tile_input: TileInput) -> None:
        self._tile_input = tile_input
        self.tiles = [tile_input.tile]

    def cut(self, tile: Tile) -> TileInput:  # noqa: ARG002 - there is but one
        return self._tile_input

    def paste(self, tile: Tile, finished: NDArray[Any]) -> None:  # noqa: ARG002
        self.finished = finished


@serve.deployment(name="Engine", max_ongoing_requests=64)
class EngineDeployment:
    """A replica. Weights that it was not told of are loaded when the first tile asks for them."""

    def __init__(self) -> None:
        settings = load_settings()
        configure_logs(settings.log_level)
        self._settings = settings.model_copy(update={"threads": settings.threads or _assigned_threads()})
        self._replica = serve.get_replica_context().replica_tag
        self._nets: OrderedDict[Reference, asyncio.Task[ServedNet]] = OrderedDict()

    async def reconfigure(self, user_config: object) -> None:
        """Loads new weights. On failure, keeps serving the old ones and logs the reason."""
        try:
            await self.find(weights_of(user_config))
        except UNUSABLE as error:
            if not self._nets:
                raise
            log.error("weights stay as they were", extra={"fields": {"problem": str(error)}})

    async def find(self, weights: str | None) -> Served:
        """Loads the weights of a file or folder, or those of SEGMENT_WEIGHTS. Raises one of UNUSABLE."""
        settings = self._settings if weights is None else self._settings.model_copy(update={"weights": Path(weights)})
        path = await asyncio.to_thread(find_weights, settings)
        read = await asyncio.to_thread(load_any, path)
        reference = Reference(str(path), read.sha256)
        engine = (await self._net(reference)).scheduler.engine
        return Served(reference, read.description, Running(engine.name, engine.device, engine.precision))

    async def compute(self, reference: Reference, tile_input: TileInput) -> Finished:
        """A tile's core. Raises EngineFailed, or if its weights are not loaded yet one of UNUSABLE."""
        net = await self._net(reference)
        task = TileInputTask(tile_input)
        await net.scheduler.compute(task)
        return Finished(task.finished, self._replica)

    def check_health(self) -> None:
        """Raises RuntimeError, upon which Ray Serve replaces the replica."""
        loaded = [task.result() for task in self._nets.values() if task.done() and not task.exception()]
        if not all(net.scheduler.alive for net in loaded):
            raise RuntimeError("a thread of the engine has died")

    async def _net(self, reference: Reference) -> ServedNet:
        if reference not in self._nets:
            self._nets[reference] = asyncio.create_task(_load(self._settings, reference))
        self._nets.move_to_end(reference)
        loading = self._nets[reference]
        try:
            net = await asyncio.shield(loading)  # one caller may give up while others still wait
        except Exception:
            if self._nets.get(reference) is loading and loading.done():
                del self._nets[reference]
            raise
        await self._forget()
        return net

    async def _forget(self) -> None:
        while len(self._nets) > KEPT:
            reference, loading = self._nets.popitem(last=False)
            net = await loading
            await asyncio.to_thread(net.scheduler.close)
            log.info("weights forgotten", extra={"fields": {"file": reference.path, "model": net.weights.label}})


async def _load(settings: Settings, reference: Reference) -> ServedNet:
    """Ready for the largest tile, too: the first one takes the memory that later ones have, and longer for it."""
    net = await asyncio.to_thread(_make, settings, reference)
    try:
        await net.scheduler.compute(TileInputTask(largest_tile(net.weights, settings.tile)))
    except BaseException:
        await asyncio.to_thread(net.scheduler.close)
        raise
    log.info("ready", extra={"fields": {"model": net.weights.label, "threads": settings.threads}})
    return net


def _make(settings: Settings, reference: Reference) -> ServedNet:
    weights = load_any(Path(reference.path))
    if weights.sha256 != reference.sha256:
        raise WeightsError(f"weights {reference.path}: the file has changed since it was chosen for serving")
    metrics = Metrics()
    capacity = QueueCapacity(
        sys.maxsize, math.inf, metrics.queue_pixels
    )  # fronts have limits, and a replica gets a limited number of tiles
    return LocalBackend(settings, weights, Path(reference.path).name).start(capacity, metrics, Startup())


def largest_tile(weights: WeightsInfo, side: int) -> TileInput:
    """Black, as from the middle of an image of several tiles."""
    architecture, preprocessing = weights.description.architecture, weights.description.preprocessing
    core = architecture.halo, side - architecture.halo
    span = Span(0, side, *core, end=core[1])
    pixels = np.zeros((side, side, architecture.in_channels), np.uint8)
    return TileInput(Tile(span, span), pixels, preprocessing.affine(pixels), as_they_are)


def _assigned_threads() -> int:
    """Returns the number of CPUs that Ray has assigned to this replica."""
    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)  # type: ignore[no-untyped-call]
    return max(1, int(cpus))
