"""Many requests over many connections at once, and what must hold of every answer."""

import asyncio
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.measuring import HOST, Answer
from tests.support.servers import Server
from tests.torture.verdict import Verdict

CONNECTIONS = 8
SLOW_S = 2.0
PATIENCE_S = 20.0  # for an answer to a request that is whole
LINGER_S = 0.25  # for one to a request that ends too early: there need not be any
GROWTH = 1.1  # of memory, from when this many requests were answered
SETTLED = 1000

# A path, an address, a source file, an exception or a library: none is anybody's business.
LEAK = re.compile(
    rb"/(?:usr|home|tmp|root|opt|var|work|app|srv)/|0x[0-9a-fA-F]{5,}|\.py\b|\.cpp\b|Traceback|[A-Za-z]Error\b|Exception"
    rb"|cv2|OpenCV|libpng|libjpeg|libtiff|simplejpeg|tifffile|imagecodecs|PIL\b|numpy|torch"
)


@dataclass(frozen=True)
class Attempt:
    """A whole HTTP request. `name`: of the file that keeps `data` if it does harm. `whole`: it is owed an answer."""

    name: str
    request: bytes
    data: bytes
    whole: bool = True


@dataclass
class Storm:
    """Sends attempts, and keeps what is wrong with the answers. `twice`: what is answered with 200 is sent again."""

    server: Server
    twice: bool = False
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    settled: int = 0
    _again: list[Attempt] = field(default_factory=list)
    _folder: Path | None = None

    def run(self, attempts: Iterable[Attempt]) -> None:
        """Sends all of them, then those alone again that were slow or not answered."""
        asyncio.run(self._run(iter(attempts)))

    def verdict(self, done: str, good: bytes, mask: bytes) -> Verdict:
        """What came of it; `good` is an image that had this mask before."""
        if self.server.process.poll() is not None:
            self.faults.append(f"the server ended with {self.server.process.returncode}")
        elif self.server.mask(good) != mask:
            self.faults.append("afterwards a good image has another mask")
        found = ", ".join(f"{count} x {status or 'no answer'}" for status, count in sorted(self.statuses.items()))
        found += f"; slowest {self.slowest:.2f} s"
        if self.settled and self.server.process.poll() is None:
            growth = self.server.rss / self.settled
            found += f"; memory {growth - 1:+.1%}"
            if growth > GROWTH:
                self.faults.append(f"memory grew to {growth:.2f} times that after {SETTLED} requests")
        if self.faults:
            found += f"; {len(self.faults)} faults: " + "; ".join(self.faults[:5])
        return Verdict(done, found, not self.faults)

    async def _run(self, attempts: Iterator[Attempt]) -> None:
        await asyncio.gather(*(self._send_all(attempts) for _ in range(CONNECTIONS)))
        connection = Connection(self.server.port)
        for attempt in self._again:
            answers = [await self._timed(connection, attempt) for _ in range(3)]
            seconds = min(seconds for _, seconds in answers)
            self.slowest = max(self.slowest, seconds)
            if seconds > SLOW_S:
                self._blame(attempt, f"took {seconds:.1f} s")
            if attempt.whole and not all(answer.status for answer, _ in answers):
                self._blame(attempt, "has no answer")
        connection.close()

    async def _send_all(self, attempts: Iterator[Attempt]) -> None:
        connection = Connection(self.server.port)
        for attempt in attempts:
            answer, seconds = await self._timed(connection, attempt)
            self.statuses[answer.status] += 1
            if self.statuses.total() == SETTLED:
                self.settled = self.server.rss
            if seconds > SLOW_S or (attempt.whole and not answer.status):
                self._again.append(attempt)
                continue
            self.slowest = max(self.slowest, seconds)
            self._check(attempt, answer)
            if self.twice and answer.status == 200:
                second, _ = await self._timed(connection, attempt)
                if (second.status, second.body) != (200, answer.body):
                    self._blame(attempt, "has two answers")
        connection.close()

    async def _timed(self, connection: "Connection", attempt: Attempt) -> tuple[Answer, float]:
        started = time.perf_counter()
        answer = await connection.ask(attempt.request, PATIENCE_S if attempt.whole else LINGER_S)
        return answer, time.perf_counter() - started if answer.status or attempt.whole else 0.0

    def _check(self, attempt: Attempt, answer: Answer) -> None:
        if answer.status >= 500 and answer.status != 503:
            self._blame(attempt, f"is answered with {answer.status}")
        text = b"" if answer.is_png else answer.body + repr(answer.headers).encode()
        if found := LEAK.search(text):
            self._blame(attempt, f"is answered with {found[0].decode()!r}")

    def _blame(self, attempt: Attempt, what: str) -> None:
        self._folder = self._folder or Path(tempfile.mkdtemp(prefix="torture-"))
        path = self._folder / attempt.name
        path.write_bytes(attempt.data)
        self.faults.append(f"{path} {what}")


class Connection:
    """Kept open from one request to the next, and opened anew after anything unusual."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, patience_s: float) -> Answer:
        """The answer; one of status 0 if there is none in that time."""
        kept = self._streams is not None
        try:
            async with asyncio.timeout(patience_s):
                answer = await self._ask(request)
        except (OSError, TimeoutError, EOFError, ValueError) as error:
            self.close()
            # the server may close an idle connection just when it is used again
            if kept and not isinstance(error, TimeoutError):
                return await self.ask(request, patience_s)
            return Answer(0, {}, b"")
        if answer.status >= 400 or answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    async def _ask(self, request: bytes) -> Answer:
        if not self._streams:
            self._streams = await asyncio.open_connection(HOST, self._port, limit=2**20)
        reader, writer = self._streams
        writer.write(request)
        first, *lines = await _read_head(reader)
        while first.split()[1] == "100":  # the server has seen `Expect` and waits for the body, which is on its way
            first, *lines = await _read_head(reader)
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        length = headers.get("content-length")
        # without a length the body ends with the connection
        body = await (reader.readexactly(int(length)) if length else reader.read())
        return Answer(int(first.split()[1]), headers, body)

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


async def _read_head(reader: asyncio.StreamReader) -> list[str]:
    return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
