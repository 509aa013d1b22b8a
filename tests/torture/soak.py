"""Many requests of all sizes: memory, files and threads must not grow."""

import asyncio
import random

import numpy as np
import psutil

from model.images.encoding import encode_png
from model.outputs.output import OUTPUTS
from tests.support.measuring import Client, form
from tests.support.servers import Server, service
from tests.torture.verdict import Verdict

LONG, SHORT = 10_000, 100  # requests

CLIENTS = 4
LONGEST_SIDE = 400  # pixels; tiles and batches are of as many shapes as there are sizes
GROWTH = 1.05
# Measured from here on; of a short run from its half, and with more leave, since it is still filling its pools.
SETTLED, SHORT_GROWTH = 1000, 1.25


def attack(count: int) -> Verdict:
    """`count`: requests."""
    settled = min(SETTLED, count // 2)
    with service() as server:
        asyncio.run(_send(server, range(settled)))
        before = _figures(server)
        failed = asyncio.run(_send(server, range(settled, count)))
        after = _figures(server)
    growth = after[0] / before[0]
    flat = after[1] <= before[1] + 2 and after[2] <= before[2] + 2
    passed = not failed and flat and growth < (GROWTH if count > 2 * SETTLED else SHORT_GROWTH)
    found = (
        f"{failed} failed; memory {before[0] >> 20} -> {after[0] >> 20} MiB ({growth - 1:+.1%}), "
        f"files {before[1]} -> {after[1]}, threads {before[2]} -> {after[2]}"
    )
    return Verdict(f"{count} requests of 1 to {LONGEST_SIDE} pixels a side, all outputs", found, passed)


def _figures(server: Server) -> tuple[int, int, int]:
    """Resident bytes, open files, threads."""
    process = psutil.Process(server.process.pid)
    return process.memory_info().rss, process.num_fds(), process.num_threads()


async def _send(server: Server, numbers: range) -> int:
    """How many got no answer that is a success."""
    waiting, failed = iter(numbers), 0

    async def ask_on() -> None:
        nonlocal failed
        for number in waiting:
            answer = await _ask(server.port, number)
            failed += answer != 200

    await asyncio.gather(*(ask_on() for _ in range(CLIENTS)))
    return failed


async def _ask(port: int, number: int) -> int:
    """The status of one request; everything about it is drawn by its number."""
    drawn = random.Random(number)  # noqa: S311 - nothing to guess
    height, width = drawn.randint(1, LONGEST_SIDE), drawn.randint(1, LONGEST_SIDE)
    shape = (height, width, 3) if drawn.random() < 0.3 else (height, width)
    image = encode_png(np.random.default_rng(number).integers(0, 256, shape, np.uint8))
    client = Client(port, form(f"/segment?output={drawn.choice(OUTPUTS)}", image))
    answer = await client.ask()
    client.close()
    return answer.status
