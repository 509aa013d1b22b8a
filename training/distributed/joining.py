"""Finds out whether torchrun started several processes, and joins them."""

import contextlib
import os
from collections.abc import Iterator

from training.distributed.processes import ALONE, Processes

# What torchrun gives each process, and torch.distributed needs to find the others.
STARTED_WITH = {"RANK", "WORLD_SIZE", "MASTER_ADDR"}


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Joins the processes that torchrun started together, and leaves them at the end.

    Raises ProcessLost if one of them does not arrive.
    """
    if not _several():
        yield ALONE
        return
    from training.distributed.torch_processes import meeting  # imports torch

    with meeting() as processes:
        yield processes


def speaks() -> bool:
    """Returns True in the main process, for callers that have no `Processes`."""
    return not _several() or os.environ["RANK"] == "0"


def _several() -> bool:
    return os.environ.keys() >= STARTED_WITH and int(os.environ["WORLD_SIZE"]) > 1
