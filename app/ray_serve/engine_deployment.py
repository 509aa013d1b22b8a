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
from app.local_backend import LocalBackend, find_nets, read_net
from app.logs import configure_logs
from app.metrics import Metrics
from app.net_file import NetFile
from app.ray_serve.messages import UNUSABLE, Finished, Reference, Running, Served, weights_of
from app.served_net import ServedNet
from app.settings import load_settings
from app.weights_source import FileState
from model.segmenter import Task, TileInput, as_they_are
from model.tiles import Span, Tile
from model.weights_file import WeightsError, WeightsInfo

log = logging.getLogger(__name__)


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
    """A replica. A net that it was not told of is loaded when the first tile asks for it."""

    def __init__(self) -> None:
        settings = load_settings()
        configure_logs(settings.log_level)
        self._settings = settings.model_copy(update={"threads": settings.threads or _assigned_threads()})
        self._replica = serve.get_replica_context().replica_tag
        self._backend = LocalBackend(self._settings, [])
        metrics = Metrics()
        # fronts have limits, and a replica gets a limited number of tiles
        self._backend.open(QueueCapacity(sys.maxsize, math.inf, metrics.queue_pixels), metrics)
        self._nets: OrderedDict[Reference, asyncio.Task[ServedNet]] = OrderedDict()
        self._served: set[Reference] = set()
        self._former: set[Reference] = set()  # before the last change

    async def reconfigure(self, user_config: object) -> None:
        """Loads new nets. On failure, keeps serving the old ones and logs the reason."""
        try:
            await self.find(weights_of(user_config))
        except UNUSABLE as error:
            if not self._nets:
                raise
            log.error("weights stay as they were", extra={"fields": {"problem": str(error)}})

    async def find(self, weights: str | None) -> list[Served]:
        """Loads the nets of a file or folder, or those of SEGMENT_WEIGHTS, until the memory budget is full.

        Returns all of them, the default first. Raises one of UNUSABLE.
        """
        settings = self._settings if weights is None else self._settings.model_copy(update={"weights": Path(weights)})
        found = await asyncio.to_thread(find_nets, settings)
        served = [_describe(net.file) for net in found.nets]
        del found  # it holds the weights
        for each in served:
            if each is served[0] or not self._backend.is_full:
                await self._net(each.reference)
        self._remember({each.reference for each in served})
        return served

    async def compute(self, reference: Reference, tile_input: TileInput) -> Finished:
        """A tile's core. Raises EngineFailed, or if its weights are not loaded yet one of UNUSABLE."""
        net = await self._net(reference)
        task = TileInputTask(tile_input)
        await net.scheduler.compute(task)
        return Finished(task.finished, self._replica)

    def check_health(self) -> None:
        """Raises RuntimeError, upon which Ray Serve replaces the replica."""
        if not self._backend.alive:
            raise RuntimeError("a thread of the engine has died")

    async def _net(self, reference: Reference) -> ServedNet:
        if reference not in self._nets:
            self._nets[reference] = asyncio.create_task(self._load(reference))
        loading = self._nets[reference]
        try:
            return await asyncio.shield(loading)  # one caller may give up while others still wait
        except Exception:
            if self._nets.get(reference) is loading and loading.done():
                del self._nets[reference]
            raise

    def _remember(self, served: set[Reference]) -> None:
        """Drops the nets of changes before the last one. Requests on their way may still need those of the last one."""
        if served != self._served:
            self._former, self._served = self._served, served
        for reference in self._nets.keys() - self._former - self._served:
            loading = self._nets.pop(reference)
            if loading.done() and not loading.cancelled() and not loading.exception():
                self._backend.retire(loading.result())
                log.info("weights forgotten", extra={"fields": {"file": reference.path}})

    async def _load(self, reference: Reference) -> ServedNet:
        """Ready for the largest tile, too: the first one takes the memory that later ones have, and longer for it."""
        net = await asyncio.to_thread(self._make, reference)
        try:
            await net.scheduler.compute(TileInputTask(largest_tile(net.weights, self._settings.tile)))
        except BaseException:
            self._backend.retire(net)
            raise
        log.info("ready", extra={"fields": {"model": net.weights.label, "threads": self._settings.threads}})
        return net

    def _make(self, reference: Reference) -> ServedNet:
        net = read_net(FileState.read(Path(reference.path)), self._settings)
        if net.weights.sha256 != reference.sha256:
            raise WeightsError(f"weights {reference.path}: the file has changed since it was chosen for serving")
        return self._backend.load(*net)


def _describe(file: NetFile) -> Served:
    engine = file.engine
    running = Running(engine.name, engine.device, engine.precision)
    return Served(Reference(str(file.path), file.weights.sha256), file.weights.description, running)


def largest_tile(weights: WeightsInfo, side: int) -> TileInput:
    """Black, as from the middle of an image of several tiles."""
    architecture, preprocessing = weights.description.architecture, weights.description.preprocessing
    side = architecture.tile_side(side)
    core = architecture.halo, side - architecture.halo
    span = Span(0, side, *core, end=core[1])
    pixels = np.zeros((side, side, architecture.in_channels), np.uint8)
    return TileInput(Tile(span, span), pixels, preprocessing.affine(pixels), as_they_are)


def _assigned_threads() -> int:
    """Returns the number of CPUs that Ray has assigned to this replica."""
    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
    return max(1, int(cpus))
