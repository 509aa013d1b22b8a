"""The metrics that `GET /metrics` serves to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # seconds

OUTCOMES = ("served", "refused", "unfinished")
LABEL_OUTCOMES = ("saved", "replaced", "unchanged", "refused")

REASONS = ("key", "not ready", "overload", "body size", "uploads", "slow client")


class Metrics:
    """One registry a service, so that several can live in one process."""

    def __init__(self) -> None:
        # for the whole process: a second series for each counter, which no dashboard uses
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self.requests = Counter(
            "segment_requests", "Answered requests.", ("method", "route", "status"), registry=registry
        )
        self.stages = Histogram(
            "segment_stage_seconds",
            "Duration of a request's stages.",
            ("stage",),
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.rejected = Counter("segment_rejected", "Requests refused.", ("reason",), registry=registry)
        for reason in REASONS:  # start at 0: a counter that appears with its first event has no rate at that time
            self.rejected.labels(reason)
        self.labels = Counter(
            "segment_labels", "Pairs that POST /labels stored or refused.", ("outcome",), registry=registry
        )
        for outcome in LABEL_OUTCOMES:
            self.labels.labels(outcome)
        self.tiles = Counter("segment_tiles", "Tiles computed.", registry=registry)
        self.dropped_tiles = Counter(
            "segment_dropped_tiles", "Tiles of abandoned requests, never computed.", registry=registry
        )
        self.batch_tiles = Histogram(
            "segment_batch_tiles", "Tiles in a batch.", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self.queue_pixels = Gauge("segment_queue_pixels", "Pixels waiting or being computed.", registry=registry)
        self.nets_loaded = Gauge("segment_nets_loaded", "Nets in memory.", registry=registry)
        self.nets_bytes = Gauge(
            "segment_nets_bytes", "Memory that the engines of all nets hold, as they estimate it.", registry=registry
        )
        self.net_loads = Counter("segment_net_loads", "Nets loaded into memory.", registry=registry)
        self.net_evictions = Counter(
            "segment_net_evictions", "Nets evicted from memory, beyond the budget.", registry=registry
        )
        self.model = Info("segment_model", "The weights and the engine of the default net.", registry=registry)
        self.weights_loaded = Gauge(
            "segment_weights_loaded_timestamp_seconds", "When the default net became ready.", registry=registry
        )
        self.weights_changes = Counter(
            "segment_weights_changes", "New weights files found while serving.", ("outcome",), registry=registry
        )
        for outcome in OUTCOMES:
            self.weights_changes.labels(outcome)
