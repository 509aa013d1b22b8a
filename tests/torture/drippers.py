"""Clients that drip bytes, or do nothing, beside one that wants its masks."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

from app.connection import PATIENCE_S
from tests.support.measuring import HOST, Client, form
from tests.support.servers import ROOT, service
from tests.torture.verdict import Verdict

LONG, SHORT = 500, 50  # drippers

# How much later than it should a connection may be seen to end, on a machine that is busy.
GRACE_S = 3.0

# Between two requests of the good client, so that one core is enough for the test.
REST_S = 0.2

FIRSTS = (
    b"",
    b"POST /segment HT",
    b"GET /healthz HTTP/1.1\r\nX-Slow: ",
    b"POST /segment HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 90000\r\n\r\n\x89PNG",
    b"POST /segment HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked"
    b"\r\n\r\n5\r\n--b\r\n\r\n",
    b"POST /v2/models/em-membranes/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n{",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n",
)
DROP_EVERY_S = 1.0


def attack(count: int) -> Verdict:
    """`count`: drippers."""
    request = form("/segment", (ROOT / "docs/example.png").read_bytes())
    with service() as server:
        return asyncio.run(_attack(server.port, request, count))


async def _attack(port: int, request: bytes, count: int) -> Verdict:
    dripping = [asyncio.create_task(_drip(port, first)) for first in itertools.islice(itertools.cycle(FIRSTS), count)]
    all_ended = asyncio.gather(*dripping)
    served = failed = 0
    client = Client(port, request)
    while not all_ended.done():
        if (await client.ask()).is_png:
            served += 1
        else:
            failed += 1
        await asyncio.sleep(REST_S)
    client.close()
    longest = max(await all_ended)
    passed = not failed and served > 0 and longest < PATIENCE_S + GRACE_S
    found = f"a good client got {served} masks of {served + failed}; the last dripper was let go after {longest:.1f} s"
    return Verdict(f"{count} clients that drip bytes", found, passed)


async def _drip(port: int, first: bytes) -> float:
    """Seconds until the server has ended the connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    started = time.perf_counter()
    writer.write(first)
    ending = asyncio.create_task(_until_the_end(reader.read))
    while not (await asyncio.wait({ending}, timeout=DROP_EVERY_S))[0]:
        if first and not writer.is_closing():
            writer.write(b"1")
    writer.close()
    return time.perf_counter() - started


async def _until_the_end(read: Callable[[int], Awaitable[bytes]]) -> None:
    try:
        while await read(65536):
            pass
    except ConnectionError:
        pass
