from collections.abc import Callable

import pytest

from app.loaded_nets import LoadedNets
from app.metrics import Metrics
from model.segmenter import Segmenter
from tests.app.conftest import GatedEngine, ReadySource

SMALL, LARGE = 10, 100


class Engine(GatedEngine):
    """An engine that holds SMALL bytes, and LARGE more until they are released."""

    is_filled = False

    @property
    def held_bytes(self) -> int:
        return SMALL + LARGE * self.is_filled

    def release_memory(self) -> None:
        self.is_filled = False


@pytest.fixture
def make_source(make_segmenter: Callable[..., Segmenter]) -> Callable[[], ReadySource]:
    def make() -> ReadySource:
        segmenter = make_segmenter()
        segmenter.engine = Engine(segmenter.engine)
        return ReadySource(segmenter)

    return make


def _value(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"segment_{name}")


def test_a_net_is_loaded_once_while_the_budget_holds_it(make_source: Callable[[], ReadySource]):
    metrics = Metrics()
    nets = LoadedNets(2 * SMALL, metrics)
    sources = [make_source(), make_source()]
    assert nets.use(sources[0]) is None
    first = nets.load(sources[0])
    is_full = [nets.is_full]
    nets.load(sources[1])
    assert [*is_full, nets.is_full] == [False, True]
    again = [nets.load(sources[0]), nets.use(sources[0])]
    assert again == [first, first]
    assert (_value(metrics, "net_loads_total"), _value(metrics, "net_evictions_total")) == (2, 0)
    assert (_value(metrics, "nets_loaded"), _value(metrics, "nets_bytes")) == (2, 2 * SMALL)


def test_the_least_recently_used_net_is_evicted(make_source: Callable[[], ReadySource]):
    metrics = Metrics()
    nets = LoadedNets(2 * SMALL, metrics)
    sources = [make_source() for _ in range(3)]
    for source in sources[:2]:
        nets.load(source)
    nets.use(sources[0])
    nets.load(sources[2])
    assert [nets.find(source) is not None for source in sources] == [True, False, True]
    assert _value(metrics, "net_evictions_total") == 1


def test_memory_of_large_tiles_is_released_before_a_net_is_evicted(make_source: Callable[[], ReadySource]):
    nets = LoadedNets(LARGE + 2 * SMALL, Metrics())
    sources = [make_source(), make_source()]
    engines = [nets.load(source).engine for source in sources]
    for engine in engines:
        assert isinstance(engine, Engine)
        engine.is_filled = True
    nets.shrink()
    assert [engine.held_bytes for engine in engines] == [SMALL, SMALL + LARGE]
    assert all(nets.find(source) for source in sources)


def test_the_net_that_was_used_last_stays_whatever_its_size(make_source: Callable[[], ReadySource]):
    nets = LoadedNets(1, Metrics())
    first, second = make_source(), make_source()
    nets.load(first)
    assert nets.find(first)
    nets.load(second)
    assert (nets.find(first), nets.find(second) is None) == (None, False)


def test_a_net_whose_file_has_changed_is_not_evicted(make_source: Callable[[], ReadySource]):
    nets = LoadedNets(1, Metrics())
    changed, other = make_source(), make_source()
    changed.is_reloadable = False
    for source in (changed, other):
        nets.load(source)
    assert {source for source in (changed, other) if nets.find(source)} == {changed, other}
    nets.forget(changed)
    assert {source for source in (changed, other) if nets.find(source)} == {other}


def test_a_net_moves_to_another_file_without_being_loaded(make_source: Callable[[], ReadySource]):
    nets = LoadedNets(10**9, Metrics())
    source, renamed = make_source(), make_source()
    segmenter = nets.load(source)
    nets.move(source, renamed)
    assert (nets.find(source), nets.find(renamed)) == (None, segmenter)
    nets.move(source, make_source())  # not in memory: nothing to move
    assert nets.find(renamed) is segmenter
