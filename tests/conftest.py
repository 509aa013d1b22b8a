"""How all tests run: on one thread, open to Ctrl-C, the longest files first, those that start Ray one after another."""

import gc
import logging
import os
import signal
import ssl
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import PurePath
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.support import forked, servers

# Nets as small as the tests' lose more to a second thread than they gain, above all beside other tests.
os.environ["OMP_NUM_THREADS"] = "1"

# Ray's workers would wait for all other tests: they have the lowest priority by default.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - this is how Ray spells it

# A shell has what it starts in the background ignore Ctrl-C, and some tests are of Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# They start clusters, or look for one on this machine.
RAY = {"test_ray_pipeline.py", "test_ray_serve.py"}
# Its tests share servers.
SERVERS = "end_to_end"
# Those that take a minute and more; begun last, they would go on alone.
LONG = RAY | {"test_torch_processes.py", "test_resume.py", "test_docs.py", "test_torture.py"}


@pytest.fixture(scope="session", autouse=True)
def _graphs_of_equal_nets_are_made_once() -> Iterator[None]:
    """Tracing and converting a net takes most of an OpenVINO engine's start, and many tests start the same nets."""
    from safetensors.torch import save  # torch reads OMP_NUM_THREADS when it is imported

    from model.engines import openvino

    made = dict[bytes, Any]()

    def to_graph(net: Any) -> Any:
        key = save({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, {"net": repr(net.config)})
        if key not in made:
            made[key] = make(net)
        return made[key].clone()

    make = openvino.to_graph
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino, "to_graph", to_graph)
        yield


@pytest.fixture(scope="session", autouse=True)
def _authorities_are_read_once() -> Iterator[None]:
    """Each HTTP client reads the certificates of a hundred authorities, and the tests make many clients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def _servers_are_forked() -> Iterator[None]:
    """From a process that has imported the service; benchmarks and `make torture` start them from nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "start", forked.start)
        yield


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """A file's tests share what they start, so one process has them all, as it has all that start Ray, or servers."""

    def _split_scope(self, nodeid: str) -> str:
        path = PurePath(super()._split_scope(nodeid))
        if path.name in RAY:
            return "ray"
        return SERVERS if SERVERS in path.parts else str(path)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Pauses garbage collection: modules and tests stay, and searching them takes a fifth of the CPU time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        _let_loggers_propagate()


def _let_loggers_propagate() -> None:
    """Around each step of each test, pytest visits all loggers that do not, and torch has forty of them."""
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "torch" and isinstance(logger, logging.Logger):
            logger.propagate = True


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    config.option.loadscopereorder = False  # it would begin with the files of most tests
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG and SERVERS not in item.path.parts)
