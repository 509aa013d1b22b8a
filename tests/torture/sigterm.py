"""SIGTERM under load, again and again: what was accepted is answered, and the exit code is 0."""

import asyncio
import random
import signal
from collections import Counter

from tests.support.measuring import Answer, Client, form
from tests.support.servers import END_S, ROOT, Server, service
from tests.torture.verdict import Verdict

LONG, SHORT = 20, 1  # times

CLIENTS = 8


def attack(count: int) -> Verdict:
    """`count`: servers that are told to stop."""
    request = form("/segment", (ROOT / "docs/example.png").read_bytes())
    outcomes, codes = Counter[str](), Counter[int]()
    for turn in range(count):
        with service() as server:
            outcomes += asyncio.run(_stop_under_load(server, request, random.Random(turn).uniform(0.3, 1.5)))  # noqa: S311
            codes[server.process.wait(END_S)] += 1
    passed = not outcomes["lost"] and outcomes["mask"] > 0 and set(codes) == {0}
    found = f"{outcomes['mask']} masks, {outcomes['503']} refused, {outcomes['lost']} lost; exit codes {dict(codes)}"
    return Verdict(f"SIGTERM with {CLIENTS} requests in flight, {count} times", found, passed)


async def _stop_under_load(server: Server, request: bytes, after_s: float) -> Counter[str]:
    """What became of the requests: each connection is new, so whoever got one has a right to an answer."""
    outcomes, stopped = Counter[str](), asyncio.Event()

    async def ask_on() -> None:
        while not stopped.is_set() or server.process.poll() is None:
            client = Client(server.port, request)
            answer = await client.ask()
            client.close()
            if answer.status == 0 and await _is_gone(server):
                return
            outcomes[_outcome(answer)] += 1

    async def stop() -> None:
        await asyncio.sleep(after_s)
        server.process.send_signal(signal.SIGTERM)
        stopped.set()

    await asyncio.gather(stop(), *(ask_on() for _ in range(CLIENTS)))
    return outcomes


def _outcome(answer: Answer) -> str:
    if answer.is_png:
        return "mask"
    return "503" if answer.status == 503 else "lost"


async def _is_gone(server: Server) -> bool:
    """Whether nobody listens any more, so that there was no connection to begin with."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    except OSError:
        return True
    writer.close()
    return False
