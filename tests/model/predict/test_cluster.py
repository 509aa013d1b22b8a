import pytest

from model.predict.cluster import ClusterError, Workers, plan_workers

HEAD, NODE, GPUS = {"CPU": 2.0, "memory": 1e9}, {"CPU": 32.0}, {"CPU": 16.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("machines", "options", "expected"),
    [
        ([HEAD], {}, Workers(1, 2, 0)),
        ([NODE], {}, Workers(4, 8, 0)),  # several beside each other gain more than many threads
        ([HEAD, NODE], {}, Workers(17, 2, 0)),
        ([NODE, {"memory": 1e9}], {"cpus": 10}, Workers(3, 10, 0)),
        ([NODE], {"count": 2}, Workers(2, 8, 0)),
        ([HEAD, GPUS], {}, Workers(4, 4, 1)),  # those that have one
        ([GPUS], {"cpus": 8}, Workers(2, 8, 1)),
        ([HEAD, GPUS], {"gpu": False}, Workers(9, 2, 0)),
        ([{"CPU": 0.0, "GPU": 1.0}, NODE], {"gpu": False}, Workers(4, 8, 0)),
    ],
)
def test_workers_fill_the_machines(machines, options, expected):
    assert plan_workers(machines, **options) == expected


@pytest.mark.parametrize("machines", [[], [HEAD], [{"CPU": 1.0, "GPU": 1.0}]])
def test_workers_that_fit_no_machine_are_refused(machines):
    with pytest.raises(ClusterError, match="--cpus 3: no machine"):
        plan_workers(machines, cpus=3)
