"""Joins a Ray cluster, or starts one on this machine, without Ray's own messages."""

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
    """Connects this process to a Ray cluster for the duration of the context.

    If the process is connected already, the context uses that cluster.

    Args:
        address: "host:port", "auto", or "local" for a new cluster. None uses the cluster of RAY_ADDRESS or of this
            machine, or starts one that ends with the context.

    Raises:
        ClusterError: The cluster cannot be joined.
    """
    ours = not ray.is_initialized()
    if ours:
        _join(address)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def _join(address: str | None) -> None:
    where = address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    # Ray logs errors of its own retries; it reports in one line that this level is set
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    code = {"py_modules": [str(Path(model.__file__ or "").parent)]}  # the same on all machines: this one
    try:
        check_reachable(where)
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
    """Raises OSError if the address does not accept connections. Ray would retry for minutes and then exit."""
    host, separator, port = (where or "").removeprefix("ray://").rpartition(":")
    if separator:
        socket.create_connection((host, int(port)), PATIENCE_S).close()


@dataclass(frozen=True)
class Workers:
    """The number of workers, and the resources that each takes of its machine."""

    count: int
    cpus: int
    gpus: int


# More threads than these gain little on one image; several workers beside each other gain more.
MOST_CPUS = 8


def plan_workers(
    machines: Sequence[Mapping[str, float]], *, count: int | None = None, cpus: int | None = None, gpu: bool = True
) -> Workers:
    """Plans a worker for each GPU if `gpu`, otherwise workers that fill all CPUs.

    Args:
        machines: Numbers of "CPU" and "GPU" of each machine.
        count: Number of workers; None for as many as fit.
        cpus: CPUs of each worker; None for those of the smallest machine, `MOST_CPUS` at most.
        gpu: True to use GPUs, if there are any.

    Raises:
        ClusterError: No machine has the resources for a worker.
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
        raise ClusterError(f"--cpus {cpus}: no machine of the cluster has that many CPUs")
    return Workers(count or room, cpus, gpus)


def _room(machine: Mapping[str, float], cpus: int, gpus: int) -> int:
    """Returns the number of workers that fit a machine."""
    by_cpus = math.floor(machine.get("CPU", 0) / cpus)
    return min(by_cpus, math.floor(machine["GPU"])) if gpus else by_cpus


def machines() -> list[dict[str, float]]:
    """Returns the resources of each machine of the cluster, such as "CPU" and "GPU"."""
    nodes = ray.nodes()
    return [node["Resources"] for node in nodes if node["Alive"]]
