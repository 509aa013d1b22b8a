"""A record of a run on a cluster, shared by its workers.

Ray imports this module in a process of its own on the driver's machine. It is kept apart from torch, which would make
that process large and slow to start.
"""

import asyncio
from collections import Counter


class Journal:
    """An actor that knows what all workers have to know: whether to stop, and what has been begun and done."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()
        self._begun = Counter[int]()
        self._done: dict[int, bytes] = {}

    async def history(self, number: int) -> tuple[int, bytes | None]:
        """The number of attempts of a job, and its outcome if there is one."""
        return self._begun[number], self._done.get(number)

    async def begin(self, number: int) -> None:
        self._begun[number] += 1

    async def end(self, number: int, outcome: bytes) -> None:
        self._done[number] = outcome

    async def stop(self) -> None:
        self._stopped.set()

    async def stopped(self) -> None:
        """Waits for `stop`."""
        await self._stopped.wait()
