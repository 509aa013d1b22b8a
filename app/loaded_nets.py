"""The nets of a process that are in memory: as many as a memory budget holds, the most recently used ones."""

import logging
import threading
import time
from collections import OrderedDict
from typing import Protocol

from app.metrics import Metrics
from model.engines.engine import EngineInfo
from model.segmenter import Segmenter
from model.weights_file import WeightsInfo

log = logging.getLogger(__name__)


class NetSource(Protocol):
    """A net that can be loaded."""

    @property
    def weights(self) -> WeightsInfo: ...

    @property
    def engine(self) -> EngineInfo:
        """The engine that will run the net."""
        ...

    @property
    def is_reloadable(self) -> bool:
        """Returns True if `load` would give the same net again."""
        ...

    def load(self) -> Segmenter:
        """Builds the net and warms it up. Raises UserError, RuntimeError."""
        ...


class LoadedNets:
    """A least-recently-used cache of nets. Safe to use from any thread.

    If the engines hold more memory than the budget, the cache first releases the memory that large tiles left behind,
    then evicts nets, the least recently used ones first. It never evicts the net that was used last, nor one whose
    file has changed since. A request that uses an evicted net keeps it until its end.
    """

    def __init__(self, budget_bytes: int, metrics: Metrics) -> None:
        """`budget_bytes`: memory of all engines together, as they estimate it."""
        self._budget, self._metrics = budget_bytes, metrics
        self._nets: OrderedDict[NetSource, Segmenter] = OrderedDict()
        # `_changing` is held only for moments, because the event loop waits for it
        self._changing, self._loading, self._shrinking = threading.Lock(), threading.Lock(), threading.Lock()

    @property
    def is_full(self) -> bool:
        """Returns True if the nets in memory take the whole budget."""
        return self._held_bytes() >= self._budget

    def find(self, source: NetSource) -> Segmenter | None:
        """Returns a net if it is in memory, without using it."""
        return self._nets.get(source)

    def use(self, source: NetSource) -> Segmenter | None:
        """Returns a net if it is in memory, and marks it as used."""
        with self._changing:
            if segmenter := self._nets.get(source):
                self._nets.move_to_end(source)
            return segmenter

    def load(self, source: NetSource) -> Segmenter:
        """Returns a net, and loads it if it is not in memory. Blocks. Raises what `NetSource.load` raises."""
        with self._loading:
            if segmenter := self.use(source):
                return segmenter
            begun = time.perf_counter()
            segmenter = source.load()
            self.add(source, segmenter)
            taken = round(1000 * (time.perf_counter() - begun))
            log.info("net loaded", extra={"fields": {"model": source.weights.label, "load_ms": taken}})
            return segmenter

    def add(self, source: NetSource, segmenter: Segmenter) -> None:
        """Keeps a net that is ready."""
        with self._changing:
            self._nets[source] = segmenter
        self._metrics.net_loads.inc()
        self.shrink()

    def move(self, source: NetSource, to: NetSource) -> None:
        """Keeps a net, if it is in memory, for another file with the same weights."""
        with self._changing:
            if segmenter := self._nets.pop(source, None):
                self._nets[to] = segmenter

    def forget(self, source: NetSource) -> None:
        """Drops a net that is no longer served."""
        with self._changing:
            self._nets.pop(source, None)
        self._report()

    def shrink(self) -> None:
        """Releases memory and evicts nets until the rest is within the budget."""
        with self._shrinking:
            others = self._listed()[:-1]
            for _, segmenter in others:
                if self._held_bytes() > self._budget:
                    segmenter.engine.release_memory()
            for source, _ in others:
                if self._held_bytes() > self._budget and source.is_reloadable:
                    self._evict(source)
            self._report()

    def _evict(self, source: NetSource) -> None:
        with self._changing:
            self._nets.pop(source, None)
        self._metrics.net_evictions.inc()
        log.info("net evicted", extra={"fields": {"model": source.weights.label}})

    def _held_bytes(self) -> int:
        return sum(segmenter.engine.held_bytes for _, segmenter in self._listed())

    def _listed(self) -> list[tuple[NetSource, Segmenter]]:
        with self._changing:
            return list(self._nets.items())

    def _report(self) -> None:
        self._metrics.nets_loaded.set(len(self._nets))
        self._metrics.nets_bytes.set(self._held_bytes())
