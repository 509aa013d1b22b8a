"""A simulation of the service on a cluster: fronts, engines and the network between them, in events (simpy).

It plans tiles as the service does, sends as many ahead, and chooses replicas as Ray Serve does. What each step costs is
measured; what is simulated is how the steps wait for each other. See benchmarks/scale.py.
"""

import random
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import simpy

from app.ray_serve.front import AHEAD
from model.segmenter import TILE
from model.tiles import Tile, plan_tiles
from model.unet import UNetConfig

Steps: TypeAlias = Generator[simpy.Event, Any, None]

NET = UNetConfig(downsampling=2)  # that of the bundled net
HALO, GRID, SIDE = NET.halo, NET.grid, NET.tile_side(TILE)

# Processes that share cores take turns; the system's are about as long, seconds.
TURN_S = 0.01

MEGA = 1e6


@dataclass(frozen=True)
class Costs:
    """Seconds, of one core or one engine; a megapixel is 10^6 pixels."""

    decode: float
    """A megapixel of an image: reading the file."""
    encode: float
    """A megapixel of an image: writing the mask."""
    send: float
    """A tile, there and back, of its front."""
    request: float
    """A request, of its front: HTTP."""
    tile: float
    """A tile, of its engine, whatever its size."""
    compute: float
    """A megapixel of a tile's window, of its engine."""
    crowding: float = 1.0
    """How many times as long computing takes where all cores of a machine do."""
    background: float = 0.0
    """Cores of a shared machine that are busy while nothing is asked for."""


@dataclass(frozen=True)
class Cluster:
    """`cores`: of the one machine that all of it shares; None: each front and each engine has its own.

    `mb_per_s`: of each front's network, 10^6 bytes; None: the same machine's memory.
    """

    engines: int
    fronts: int = 1
    cores: int | None = None
    mb_per_s: float | None = None


@dataclass
class Outcome:
    """`latencies`: seconds, in the order in which requests ended. `busy`: the share of time that engines computed."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    busy: float = 0.0

    @property
    def images_per_s(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds within which that share of the requests was answered."""
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class Simulation:
    """One run; use `arrivals` or `clients` once."""

    def __init__(self, costs: Costs, cluster: Cluster, seed: int = 0) -> None:
        self._costs, self._cluster = costs, cluster
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self._env = simpy.Environment()
        self._cores = simpy.Resource(self._env, cluster.cores) if cluster.cores else None
        self._engines = [simpy.Resource(self._env, 1) for _ in range(cluster.engines)]
        ahead = max(1, AHEAD * cluster.engines // cluster.fronts)
        self._fronts = [Front(self._env, ahead) for _ in range(cluster.fronts)]
        self._outcome = Outcome()
        self._computed = 0.0

    def arrivals(self, requests: Iterable[tuple[float, int]]) -> Outcome:
        """Square images: when each comes, seconds from the start in ascending order, and its side in pixels."""

        def come() -> Steps:
            answers = []
            for at, side in requests:
                yield self._env.timeout(max(0.0, at - self._env.now))
                answers.append(self._env.process(self._request(side)))
            yield self._env.all_of(answers)

        return self._run(self._env.process(come()))

    def clients(self, count: int, side: int, seconds: float) -> Outcome:
        """Runs `count` clients that ask again when they are answered."""

        def ask() -> Steps:
            while True:
                yield self._env.process(self._request(side))

        for _ in range(count):
            self._env.process(ask())
        return self._run(seconds)

    def _run(self, until: float | simpy.Event) -> Outcome:
        if self._cores and self._costs.background:
            self._env.process(self._go_on_in_the_background())
        self._env.run(until)
        self._outcome.seconds = self._env.now
        self._outcome.busy = self._computed / (self._env.now * self._cluster.engines)
        return self._outcome

    def _go_on_in_the_background(self) -> Steps:
        while True:
            yield self._env.timeout(TURN_S / self._costs.background)
            self._env.process(self._work(TURN_S))

    def _request(self, side: int) -> Steps:
        began, front, megapixels = self._env.now, self._random.choice(self._fronts), side * side / MEGA
        yield from self._work(self._costs.request + self._costs.decode * megapixels)
        tiles: list[simpy.Process] = []
        for tile in plan_tiles(side, side, tile=SIDE, halo=HALO, grid=GRID):
            slot = front.ahead.request()
            if tiles:  # the first goes past those that wait
                yield slot
            tiles.append(self._env.process(self._tile(front, tile, slot)))
        yield self._env.all_of(tiles)
        yield from self._work(self._costs.encode * megapixels)
        self._outcome.latencies.append(self._env.now - began)

    def _tile(self, front: "Front", tile: Tile, slot: simpy.resources.resource.Request) -> Steps:
        with slot:
            with front.loop.request() as turn:
                yield turn
                yield from self._work(self._costs.send)
            yield from self._transfer(front, tile.pixels)
            with self._choose().request() as mine:
                yield mine
                seconds = self._costs.tile + self._costs.compute * tile.pixels / MEGA
                crowded = self._cores is not None and self._cluster.engines >= self._cores.capacity
                yield from self._work(seconds * (self._costs.crowding if crowded else 1))
                self._computed += seconds
            core = (tile.rows.high - tile.rows.low) * (tile.columns.high - tile.columns.low)
            yield from self._transfer(front, core)

    def _choose(self) -> simpy.Resource:
        """The better of two at random, as Ray Serve's router does."""
        two = self._random.sample(self._engines, min(2, len(self._engines)))
        return min(two, key=lambda engine: engine.count + len(engine.queue))

    def _transfer(self, front: "Front", size: int) -> Steps:
        """One byte a pixel there, one back."""
        if self._cluster.mb_per_s:
            with front.network.request() as turn:
                yield turn
                yield self._env.timeout(size / MEGA / self._cluster.mb_per_s)

    def _work(self, seconds: float) -> Steps:
        """Uses a core for `seconds`: its own, or a shared one in turn."""
        if self._cores is None:
            yield self._env.timeout(seconds)
            return
        while seconds > 0:
            with self._cores.request() as turn:
                yield turn
                yield self._env.timeout(min(TURN_S, seconds))
            seconds -= TURN_S


class Front:
    """`ahead`: tiles on their way; `loop`: the one thread that sends and pastes; `network`: one direction at a time."""

    def __init__(self, env: simpy.Environment, ahead: int) -> None:
        self.ahead = simpy.Resource(env, ahead)
        self.loop = simpy.Resource(env, 1)
        self.network = simpy.Resource(env, 1)
