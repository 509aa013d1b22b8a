"""The simulation of clusters against what can be said without one."""

from dataclasses import replace

import pytest

from benchmarks.simulation import MEGA, NET, SIDE, Cluster, Costs, Simulation
from model.weights_file import BUNDLED, load_weights

COSTS = Costs(decode=0.01, encode=0.01, send=0.002, request=0.005, tile=0.003, compute=0.2)
SMALL = 512 * 512 / MEGA


def test_its_net_is_the_bundled_one():
    assert load_weights(BUNDLED).description.unet == NET


def test_the_time_of_one_image_is_the_sum_of_its_steps():
    outcome = Simulation(COSTS, Cluster(engines=3)).arrivals([(0, 512)])
    expected = 0.005 + 0.02 * SMALL + 0.002 + 0.003 + 0.2 * SMALL
    assert outcome.latencies == pytest.approx([expected])


def test_a_network_takes_as_long_as_it_carries_bytes():
    [without] = Simulation(COSTS, Cluster(engines=1)).arrivals([(0, 512)]).latencies
    [through] = Simulation(COSTS, Cluster(engines=1, mb_per_s=10)).arrivals([(0, 512)]).latencies
    assert through - without == pytest.approx(2 * SMALL / 10)


@pytest.mark.parametrize("engines", [1, 2, 4])
def test_clients_that_never_pause_keep_all_engines_busy(engines: int):
    outcome = Simulation(COSTS, Cluster(engines)).clients(8 * engines, 512, 60)
    assert outcome.busy > 0.95
    assert outcome.images_per_s == pytest.approx(engines / (0.003 + 0.2 * SMALL), rel=0.05)


def test_shared_cores_do_no_more_than_they_can():
    costs = replace(COSTS, background=0.1)
    outcome = Simulation(costs, Cluster(engines=2, cores=2)).clients(16, 512, 60)
    each = 0.005 + 0.02 * SMALL + 0.002 + 0.003 + 0.2 * SMALL
    assert outcome.images_per_s == pytest.approx((2 - 0.1) / each, rel=0.05)


def test_a_large_image_is_shared_by_all_engines():
    one, two, many = (
        Simulation(COSTS, Cluster(engines)).arrivals([(0, 5 * SIDE)]).latencies[0] for engines in (1, 2, 1000)
    )
    assert two < 0.6 * one
    assert many > 0.2 * SIDE * SIDE / MEGA * 0.9, "no faster than one tile"


def test_the_same_seed_is_the_same_simulation():
    requests = [(0.05 * number, 700) for number in range(100)]

    def latencies(seed: int) -> list[float]:
        return Simulation(COSTS, Cluster(engines=8, fronts=3), seed).arrivals(requests).latencies

    assert latencies(1) == latencies(1)
    assert latencies(1) != latencies(2)
