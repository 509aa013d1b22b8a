"""How the benchmarks time things, and what they ran on."""

import asyncio
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import NamedTuple

import numpy as np

HOST = "127.0.0.1"
BOUNDARY = "the-image-is-between-these-lines"
ANSWER_S = 3600.0  # how long an answer may take


def interleaved(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, after two unmeasured ones.

    They take turns, so that whatever else the machine does hits all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 2):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def spread(values: Sequence[float]) -> list[float]:
    """Returns the median, the lowest and the highest value.

    Whatever the distribution is, n rounds hold the true median between the two with a probability of 1 - 2 / 2**n:
    94% for five rounds, 97% for six.
    """
    return [round(value, 3) for value in (statistics.median(values), min(values), max(values))]


def shown(values: Sequence[float]) -> str:
    """The result of `spread` for people: "1.02 (0.98 to 1.05)"."""
    median, lowest, highest = values
    return f"{median:.3g} ({lowest:.3g} to {highest:.3g})"


def versions(*packages: str) -> dict[str, str]:
    """Of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


class Answer(NamedTuple):
    """What came back. `status`: 0 if the connection broke. `headers`: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_png(self) -> bool:
        return self.status == 200 and self.body.startswith(b"\x89PNG")


def form(path: str, image: bytes) -> bytes:
    """A whole HTTP/1.1 request: the image as multipart/form-data, in the part `file`."""
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="image.png"\r\n'
    body = b"".join([part.encode(), b"Content-Type: image/png\r\n\r\n", image, f"\r\n--{BOUNDARY}--\r\n".encode()])
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


class Client:
    """Sends one ready-made request again and again, over as many connections as answers are outstanding at once.

    No more than that, for on a small machine a client takes its time from the server it measures.
    """

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self) -> Answer:
        """The answer; one of status 0 if there is none."""
        try:
            reader, writer = await self._connection()
        except OSError:
            return Answer(0, {}, b"")
        try:
            async with asyncio.timeout(ANSWER_S):
                writer.write(self._request)
                answer = await _read_answer(reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.close()
            return Answer(0, {}, b"")
        if answer.headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return answer

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(HOST, self._port, limit=2**20)


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    """All servers here say how long their answers are: no chunks."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Answer(int(first.split()[1]), headers, body)


@dataclass(frozen=True)
class Load:
    """Result of a load.

    Attributes:
        seconds: From when each mask was due to be asked for.
        failed: Answers that were no masks.
        images_per_s: Masks per second.
        client_s: Processor time that this process took for asking, which a server on the same machine lacks.
    """

    seconds: list[float]
    failed: int
    images_per_s: float
    client_s: float = 0.0

    def ms(self, percentile: float) -> float:
        """A percentile of the latencies, milliseconds."""
        return 1000 * float(np.percentile(self.seconds, percentile)) if self.seconds else float("nan")


def summary(rounds: Sequence[Load]) -> dict[str, float]:
    """Medians over rounds; but p90 and p99 of all answers together, for a round has too few of them."""
    together = Load([second for load in rounds for second in load.seconds], sum(load.failed for load in rounds), 0)
    client_s = sum(load.client_s for load in rounds)
    return {
        "images_per_s": round(statistics.median(load.images_per_s for load in rounds), 2),
        "p50_ms": round(statistics.median(load.ms(50) for load in rounds), 1),
        "p90_ms": round(together.ms(90), 1),
        "p99_ms": round(together.ms(99), 1),
        "answers": len(together.seconds),
        "failed": together.failed,
        "client_ms": round(1000 * client_s / max(1, len(together.seconds)), 2),
    }


class _Answered(NamedTuple):
    at: float
    seconds: float
    is_png: bool


def _load(answers: list[_Answered], started: float, client_s: float) -> Load:
    masks = [answer.seconds for answer in answers if answer.is_png]
    return Load(masks, len(answers) - len(masks), len(masks) / (answers[-1].at - started), client_s)


async def closed_loop(port: int, request: bytes, connections: int, seconds: float) -> Load:
    """Each connection asks again as soon as it is answered.

    The first answers, one for each connection, are not measured; the clock runs from the last of them to the last
    answer inside the time, so that nothing half done is counted. There are at least as many answers as connections.
    """
    client, answers, clock, cpu = Client(port, request), list[_Answered](), time.perf_counter, time.process_time()

    def enough() -> bool:
        return len(answers) >= 2 * connections and clock() >= answers[connections - 1].at + seconds

    async def ask_on() -> None:
        while not enough():
            started = clock()
            answer = await client.ask()
            answers.append(_Answered(clock(), clock() - started, answer.is_png))

    await asyncio.gather(*(ask_on() for _ in range(connections)))
    client.close()
    started = answers[connections - 1].at
    inside = sum(answer.at <= started + seconds for answer in answers)
    counted = answers[connections : max(inside, 2 * connections)]
    return _load(counted, started, (time.process_time() - cpu) * len(counted) / len(answers))


async def open_loop(port: int, request: bytes, rate: float, seconds: float, seed: int) -> Load:
    """Asks at random times, `rate` a second, whether or not the last one is answered; a latency counts from then."""
    client, answers, clock, cpu = Client(port, request), list[_Answered](), time.perf_counter, time.process_time()
    started = clock()

    async def ask_at(due: float) -> None:
        await asyncio.sleep(max(0.0, due - clock()))
        answer = await client.ask()
        answers.append(_Answered(clock(), clock() - due, answer.is_png))

    await asyncio.gather(*(ask_at(started + after) for after in arrivals(rate, seconds, seed)))
    client.close()
    return _load(answers, started, time.process_time() - cpu)


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Seconds at which `open_loop` asks, `rate` times a second: a Poisson process, from 0 on."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, max(1, round(rate * seconds)))
    times: list[float] = gaps.cumsum().tolist()
    return times


def ideal_waits(times: Sequence[float], service_s: float) -> list[float]:
    """Seconds that each arrival waits before a server that takes one after the other, each for exactly `service_s`.

    No server with a throughput of 1 / service_s answers these arrivals with shorter waits on average: none idles while
    somebody waits, and nothing is done twice.
    """
    waits, free = list[float](), 0.0
    for time_s in times:
        begun = max(time_s, free)
        waits.append(begun - time_s)
        free = begun + service_s
    return waits
