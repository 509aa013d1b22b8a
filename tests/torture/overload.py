"""Four times as many requests as the service can serve, whether or not it keeps up; the bundled weights."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from tests.support.measuring import HOST, Client, closed_loop, form
from tests.support.servers import ROOT, service
from tests.torture.verdict import Verdict

LONG, SHORT = 60, 2  # seconds; the short form judges what is answered, but not how fast

TIMES = 4
DEADLINE_S = 30.0
LEAST_GOODPUT = 0.9  # of the peak
SLOWEST_HEALTH_S = 0.2
RECOVERY_S = 5.0
NORMAL = 2.0  # times the latency before


@dataclass
class Seen:
    """What came back. Seconds; `served` of those that got a mask."""

    statuses: Counter[int] = field(default_factory=Counter)
    served: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)


def attack(count: int) -> Verdict:
    """`count`: seconds."""
    request = form("/segment", (ROOT / "docs/example.png").read_bytes())
    short = {"max_wait_s": 0.5} if count < LONG else {}  # or its seconds would not be enough to be too much
    with service(deadline_s=DEADLINE_S, **short) as server:
        return asyncio.run(_attack(server.port, request, count))


async def _attack(port: int, request: bytes, seconds: int) -> Verdict:
    peak = (await closed_loop(port, request, 8, max(2, seconds / 4))).images_per_s
    before = await _latency(port, request)
    seen = await _overload(port, request, TIMES * peak, seconds)
    await asyncio.sleep(RECOVERY_S if seconds >= LONG else 0)
    after = await _latency(port, request)
    goodput = len(seen.served) / seconds
    slowest, health = (float(np.percentile(times, 99)) for times in (seen.served, seen.health))
    quick = goodput >= LEAST_GOODPUT * peak and health < SLOWEST_HEALTH_S and after < NORMAL * before
    passed = set(seen.statuses) <= {200, 503} and slowest < DEADLINE_S and (quick or seconds < LONG)
    answers = ", ".join(f"{number} x {status}" for status, number in sorted(seen.statuses.items()))
    found = (
        f"{answers}; goodput {goodput / peak:.0%} of the peak, p99 of masks {slowest:.1f} s, of /healthz "
        f"{1000 * health:.0f} ms; {RECOVERY_S:g} s later a mask takes {after / before:.2f} times as long as before"
    )
    return Verdict(f"{TIMES * peak:.0f} requests/s for {seconds} s, {TIMES} times the peak", found, passed)


async def _overload(port: int, request: bytes, rate: float, seconds: int) -> Seen:
    """Answers that come later than `seconds` are waited for, but are no goodput."""
    seen, client, clock = Seen(), Client(port, request), time.perf_counter
    gaps = np.random.default_rng(0).exponential(1 / rate, round(rate * seconds))
    started = clock()

    async def ask_at(due: float) -> None:
        await asyncio.sleep(max(0.0, due - clock()))
        answer = await client.ask()
        seen.statuses[answer.status] += 1
        if answer.status == 200 and clock() < started + seconds:
            seen.served.append(clock() - due)

    over = asyncio.Event()
    watching = asyncio.create_task(_watch_health(port, seen, over))
    await asyncio.gather(*(ask_at(started + float(after)) for after in gaps.cumsum()))
    over.set()
    await watching
    client.close()
    return seen


async def _watch_health(port: int, seen: Seen, over: asyncio.Event) -> None:
    client = Client(port, f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    while not over.is_set():
        started = time.perf_counter()
        answer = await client.ask()
        if answer.status != 200:
            seen.statuses[answer.status] += 1
        seen.health.append(time.perf_counter() - started)
        await asyncio.sleep(0.05)
    client.close()


async def _latency(port: int, request: bytes) -> float:
    """The median of one request at a time, seconds."""
    client, seconds = Client(port, request), []
    for _ in range(5):
        started = time.perf_counter()
        await client.ask()
        seconds.append(time.perf_counter() - started)
    client.close()
    return float(np.median(seconds))
