"""A Ray cluster that is joined, or started on this machine; and nothing that Ray has to say about it."""

import logging
import math
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

import model
from model.errors import UserError

# For a cluster to accept a connection.
PATIENCE_S = 5


class ClusterError(UserError):
    """A cluster that is not to be had. The message says why."""


@contextmanager
def joined(address: str | None) -> Iterator[None]:
    """Within, this process is a driver of the cluster at an address ("host:port", "auto", "local" for a new one).

    None: the one that RAY_ADDRESS names or that runs on this machine, else a new one, which ends here. A cluster that
    this process has joined before is used as it is. Raises ClusterError.
    """
    ours = not ray.is_initialized()
    if ours:
        _join(address)
    ray._private.worker._worker_logs_enabled = False  # of raylets, which log_to_driver does not concern
    try:
        yield
    finally:
        if ours:
            ray.shutdown()
        ray._private.worker._worker_logs_enabled = True


def _join(address: str | None) -> None:
    where = address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody's business
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    code = {"py_modules": [str(Path(model.__file__ or "").parent)]}  # the same on all machines: this one
    try:
        check_reachable(where)
        with _silence():
            ray.init(
                address,
                include_dashboard=False,
                runtime_env=code,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ClusterError(f"--ray: the cluster at {where or 'hand'} cannot be joined ({reason})") from error


def check_reachable(where: str | None) -> None:
    """Whether anybody listens there. Ray would try for minutes, and then end the process. Raises OSError."""
    host, separator, port = (where or "").removeprefix("ray://").rpartition(":")
    if separator:
        socket.create_connection((host, int(port)), PATIENCE_S).close()


@contextmanager
def _silence() -> Iterator[None]:
    """Within, stderr is closed to what is written in C++, and to processes that are started."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@dataclass(frozen=True)
class Workers:
    """How many there are to be, and what each takes of its machine."""

    count: int
    cpus: int
    gpus: int


# More threads than these gain little on one image; several workers beside each other gain more.
MOST_CPUS = 8


def plan_workers(
    machines: Sequence[Mapping[str, float]], *, count: int | None = None, cpus: int | None = None, gpu: bool = True
) -> Workers:
    """For machines of so many "CPU" and "GPU": a worker for each GPU if `gpu`, or workers that fill all CPUs.

    `count`, `cpus`: instead of as many as there is room for, and of what fits the smallest machine, up to `MOST_CPUS`.
    Raises ClusterError if no machine has room for a worker.
    """
    if gpu and any(machine.get("GPU", 0) >= 1 for machine in machines):
        machines = [machine for machine in machines if machine.get("GPU", 0) >= 1]
        share = min(machine.get("CPU", 0) / machine["GPU"] for machine in machines)
        gpus = 1
    else:
        machines = [machine for machine in machines if machine.get("CPU", 0) >= 1]
        share, gpus = min((machine["CPU"] for machine in machines), default=0), 0
    cpus = cpus or max(1, min(MOST_CPUS, math.floor(share)))
    room = sum(_room(machine, cpus, gpus) for machine in machines)
    if not room:
        raise ClusterError(f"--cpus {cpus}: no machine of the cluster has so many")
    return Workers(count or room, cpus, gpus)


def _room(machine: Mapping[str, float], cpus: int, gpus: int) -> int:
    """How many workers a machine can have."""
    by_cpus = math.floor(machine.get("CPU", 0) / cpus)
    return min(by_cpus, math.floor(machine["GPU"])) if gpus else by_cpus


def machines() -> list[dict[str, float]]:
    """What each machine of the cluster has, "CPU" and "GPU" among it."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]
