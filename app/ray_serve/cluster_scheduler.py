"""The scheduler of a front: tiles go to the replicas of the engine, and what is lost on the way is sent again."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from prometheus_client import Counter
from ray.exceptions import ObjectLostError, RayActorError, RayError
from ray.serve.exceptions import RayServeException, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from app.capacity import QueueCapacity
from app.metrics import Metrics
from app.ray_serve.in_flight import InFlightLimit
from app.ray_serve.messages import Finished, Reference, Running, Served
from app.scheduler import EngineFailed, TileJob, ignore_job
from app.served_net import NetName, ServedNet
from app.served_nets import ServedNets
from app.startup import Startup
from model.inputs.preprocessing import Values
from model.segmenter import Task, TileInput
from model.tiles import Tile

log = logging.getLogger(__name__)

# A tile that ends the replica which computes it must not end them all.
ATTEMPTS = 4

# Before the second attempt, seconds; before each later one twice as long.
PAUSE_S = 0.1

# The replica, its node, or what it had computed is gone: another one can do it.
LOST = (RayActorError, ObjectLostError, ReplicaUnavailableError)


@dataclass(frozen=True)
class Engines:
    """The engine's replicas: a `Computing`.

    Attributes:
        handle: The deployment.
        served: The nets, the default first.
        flight: The tiles on their way to the replicas, of whatever weights.
        tile: Side of the largest tile, pixels.
    """

    handle: "DeploymentHandle[Any]"
    served: Sequence[Served]
    flight: InFlightLimit
    tile: int

    def start(self, capacity: QueueCapacity, metrics: Metrics, startup: Startup) -> ServedNets:
        startup.done("connect")
        cluster_metrics = ClusterMetrics(metrics)
        return ServedNets(
            ClusterScheduler(self, served, capacity, metrics, cluster_metrics).net() for served in self.served
        )


class ClusterMetrics:
    """Metrics of a cluster, besides the service's own `Metrics`."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self.computed = Counter(
            "segment_replica_tiles", "Tiles computed, by replica of the engine.", ("replica",), registry=registry
        )
        self.lost = Counter("segment_lost_tiles", "Tiles sent again: their replica was lost.", registry=registry)


class ClusterScheduler:
    """A `TileScheduler`. Requests take turns tile by tile; it lives on one event loop."""

    # whether the engines are alive and have the net in memory is Ray's to know
    alive = loaded = True

    def __init__(
        self,
        engines: Engines,
        served: Served,
        capacity: QueueCapacity,
        metrics: Metrics,
        cluster_metrics: ClusterMetrics,
    ) -> None:
        """`served`: the net."""
        self._engines, self._served = engines, served
        self.capacity, self._metrics, self._cluster_metrics = capacity, metrics, cluster_metrics
        self._flight = engines.flight

    @property
    def reference(self) -> Reference:
        return self._served.reference

    @property
    def engine(self) -> Running:
        return self._served.engine

    def net(self, former: NetName | None = None) -> ServedNet:
        """Returns the weights of this scheduler as a net for requests. `former`: the net that they replace."""
        served = self._served
        return ServedNet(served.weights, self, Path(served.reference.path).name, self._engines.tile, former)

    def serving(self, served: Served) -> "ClusterScheduler":
        """Returns a scheduler for another net."""
        return ClusterScheduler(self._engines, served, self.capacity, self._metrics, self._cluster_metrics)

    async def compute(self, *tasks: Task, on_queued: Callable[[TileJob], None] = ignore_job) -> TileJob:
        job = TileJob(tasks, self.capacity, self.reference.sha256)
        on_queued(job)
        try:
            await self._send(job)
        except BaseExceptionGroup as failures:  # one tells enough
            raise failures.exceptions[0] from failures
        finally:
            self._metrics.dropped_tiles.inc(len(job.waiting))
            job.reservation.release(job.waiting_pixels)
        return job

    def close(self) -> None:
        """Nothing is queued when all requests are answered."""

    async def _send(self, job: TileJob) -> None:
        flying: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while job.waiting:
                pixels = job.waiting[0][1].pixels
                if flying:
                    await self._flight.take(pixels)
                else:
                    self._flight.take_at_once(
                        pixels
                    )  # each request has at least one tile in flight, so none waits only for others
                sent = group.create_task(self._compute(job, *job.waiting.popleft()))
                flying.add(sent)
                sent.add_done_callback(flying.discard)
                # not at the end of the coroutine, which a task that is cancelled at once never begins
                sent.add_done_callback(partial(self._landed, job, pixels))

    def _landed(self, job: TileJob, pixels: int, _sent: asyncio.Task[None]) -> None:
        self._flight.release(pixels)
        job.reservation.release(pixels)

    async def _compute(self, job: TileJob, task: Task, tile: Tile) -> None:
        started = time.perf_counter()
        job.started = job.started or started
        finished = await self._attempts(task.cut(tile))
        task.paste(tile, finished.core)
        job.missing -= 1
        self._cluster_metrics.computed.labels(finished.replica).inc()
        self._metrics.tiles.inc()
        # Little's law: what is on its way, by the time it takes, is what gets done
        self.capacity.measured(self._flight.pixels / (time.perf_counter() - started), self.reference.sha256)

    async def _attempts(self, tile_input: TileInput) -> Finished:
        # whole in memory of its own: that is what the object store takes
        tile_input = replace(tile_input, pixels=cast(Values, np.ascontiguousarray(tile_input.pixels)))
        for attempt in range(ATTEMPTS):
            try:
                finished: Finished = await self._engines.handle.compute.remote(self.reference, tile_input)
            except LOST as error:
                self._cluster_metrics.lost.inc()
                log.warning("tile lost", extra={"fields": {"attempt": attempt + 1, "error": type(error).__name__}})
                await asyncio.sleep(PAUSE_S * 2**attempt)
            except EngineFailed:
                raise
            except (RayError, RayServeException) as error:
                raise EngineFailed("the engine failed") from error
            else:
                return finished
        raise EngineFailed("replica after replica was lost")
