"""Processes that work together, with what torchrun tells them; forked from one that has imported all they need."""

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.forked import FORKED
from tests.support.servers import free_port

PATIENCE_S = 120


@dataclass(frozen=True)
class Ended:
    code: int | None
    stdout: str
    stderr: str


def together(count: int, work: Callable[[list[str]], int], argv: list[str]) -> list[Ended]:
    """So many processes, each of which ends with what `work` of `argv` returns, or is killed after two minutes."""
    with tempfile.TemporaryDirectory() as name:
        port, folder = free_port(), Path(name)
        members = [
            FORKED.Process(target=_one, args=(rank, count, work, argv, port, folder), daemon=True)
            for rank in range(count)
        ]
        for member in members:
            member.start()
        for member in members:
            member.join(PATIENCE_S)
            member.kill()
            member.join()
        return [
            Ended(member.exitcode, *((folder / f"{rank}.{stream}").read_text() for stream in ("stdout", "stderr")))
            for rank, member in enumerate(members)
        ]


def _one(rank: int, count: int, work: Callable[[list[str]], int], argv: list[str], port: int, folder: Path) -> None:
    for number, stream in ((1, "stdout"), (2, "stderr")):
        with (folder / f"{rank}.{stream}").open("wb") as file:
            os.dup2(file.fileno(), number)
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ |= {name: str(number) for name, number in told.items()}
    # the loopback: names of containers lead nowhere
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    sys.exit(work(argv))
