"""`python -m benchmarks.service [--json] [--peers]`: the cost of HTTP on top of the engine.

The real server and its bare engine run in separate processes. This process asks both in turn, in several rounds, so
that other load on the machine hits both. The engine also runs with decoding and encoding, but without HTTP. Figures are
medians over rounds; p90 and p99 are of all answers together. The ratios and the difference are those of each round:
median, lowest and highest.

Random arrivals are compared with an ideal queue at the same times. It has the best throughput of the service, and its
waits are added to the latency of one request at a time.

--peers compares the service with the same net behind a plain FastAPI endpoint, LitServe and Ray Serve.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
from dataclasses import dataclass
from itertools import product, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from app.settings import PREFIX, SettingsError, load_settings
from benchmarks.peers import comparison
from benchmarks.peers.bare_engine import BareEngine, Times, bare_engine
from model.engines.pytorch import chip, choose_device
from model.images.headers import read_header
from model.images.image_errors import ImageError
from tests.support.measuring import (
    Load,
    arrivals,
    closed_loop,
    form,
    ideal_waits,
    open_loop,
    shown,
    spread,
    summary,
    versions,
)
from tests.support.servers import ROOT, Server, ServerError, service

IMAGE = ROOT / "docs" / "example.png"  # made by training.synthetic, 512 x 512
SHARES = (0.5, 0.8, 0.95)

T = TypeVar("T")


class Loop(NamedTuple):
    """A load on the bare engine: images in a batch, and batches at once."""

    batch: int
    at_once: int


@dataclass(frozen=True)
class Round:
    """The bare engine's figures, those from file to file by number of threads, and the service's by connections."""

    engine: dict[Loop, Times]
    files: dict[int, Times]
    service: dict[int, Load]


def main() -> int:
    """The command; returns the exit code: 2 for bad arguments, 1 if a server fails."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with us
    arguments = _parse()
    if arguments.peers and (missing := _missing_packages()):
        print(f"benchmarks.service: --peers needs: pip install {missing}", file=sys.stderr)
        return 2
    try:
        result = measure(arguments)
    except ServerError as error:
        print(f"benchmarks.service: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=1) if arguments.json else _table(result))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement in a round (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="how often all of them take turns (default: 5)")
    parser.add_argument(
        "--concurrency", type=int, nargs="+", default=[1, 2, 4, 8], help="connections, each with one request at a time"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4], help="images in an engine's batch")
    parser.add_argument(
        "--rates",
        type=float,
        nargs="+",
        help="images a second that arrive at random (default: 50, 80 and 95 %% of the best throughput)",
    )
    parser.add_argument("--image", type=Path, default=IMAGE, metavar="PNG", help="default: docs/example.png")
    parser.add_argument("--peers", action="store_true", help="compare with FastAPI, LitServe and Ray Serve, too")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    arguments = parser.parse_args()
    _check(parser, arguments)
    return arguments


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Ends with exit code 2 and a line on what is wrong."""
    if min(arguments.rounds, *arguments.concurrency, *arguments.batches) < 1:
        parser.error("--rounds, --concurrency and --batches must be at least 1")
    if min(arguments.seconds, *(arguments.rates or [1])) <= 0:
        parser.error("--seconds and --rates must be more than 0")
    try:
        settings = load_settings()
        header = read_header(arguments.image.read_bytes())
    except (SettingsError, OSError, ImageError) as error:
        parser.error(str(error))
    if header.format != "PNG" or max(header.width, header.height) > settings.tile:
        parser.error(f"--image must be a PNG of one tile, at most {settings.tile} x {settings.tile} pixels")


def _missing_packages() -> str:
    """The arguments of the pip command that installs what --peers needs, empty if it is there."""
    return " ".join(f'"{package}"' if "[" in package else package for package in comparison.missing_packages())


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The result of the command. Raises ServerError."""
    image = arguments.image.read_bytes()
    batches, concurrency = (sorted({1, *counts}) for counts in (arguments.batches, arguments.concurrency))
    with service() as server, bare_engine(arguments.image) as engine:
        server.mask(image)
        model = json.loads(server.get("/model").body)
        request = form(server.path, image)
        loops = [Loop(*loop) for loop in product(batches, sorted({1, engine.streams}))]
        files = [1, engine.streams + 1]
        rounds = []
        for turn in range(arguments.rounds):
            _say(f"round {turn + 1} of {arguments.rounds}: engine, service")
            rounds.append(_round(engine, server, request, (loops, files, concurrency), arguments.seconds))
        result = _head(arguments, model) | _closed(rounds)
        best = result["service"][result["ratios"]["best_concurrency"]]["images_per_s"]
        rates = arguments.rates or [share * best for share in SHARES]
        result["open_loop"] = _open(server, request, rates, arguments)
        for row in result["open_loop"]:
            row |= _ideal(row["rate"], best, result["service"][1]["p50_ms"], arguments)
    if arguments.peers:
        result["servers"] = comparison.compare(image, arguments.rounds, arguments.seconds)
    return result


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _round(
    engine: BareEngine,
    server: Server,
    request: bytes,
    loads: tuple[list[Loop], list[int], list[int]],
    seconds: float,
) -> Round:
    """The engine and the service in turn; while one works the other waits. `loads`: the keys of the `Round`."""
    result = Round({}, {}, {})
    for loop, threads, connections in zip_longest(*loads):
        if loop:
            result.engine[loop] = engine.run(loop.batch, loop.at_once, seconds)
        if threads:
            result.files[threads] = engine.run_files(threads, seconds)
        if connections:
            result.service[connections] = asyncio.run(closed_loop(server.port, request, connections, seconds))
    return result


def _head(arguments: argparse.Namespace, model: dict[str, Any]) -> dict[str, Any]:
    """Describes the load and the machine."""
    settings = load_settings()
    header = read_header(arguments.image.read_bytes())
    packages = ["torch", "openvino", *(("litserve", "ray") if arguments.peers else ())]
    return {
        "chip": chip(choose_device(settings.device)),
        "threads": settings.compute_threads,
        "versions": versions(*packages),
        "image": f"{header.width} x {header.height}",
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "model": {key: model[key] for key in ("name", "engine", "device", "precision", "tta")},
        "settings": {
            name: value for name, value in os.environ.items() if name.startswith(PREFIX) and "KEY" not in name
        },
    }


def _closed(rounds: list[Round]) -> dict[str, Any]:
    """Medians of both sides, and their ratios."""
    engine, files = _medians([turn.engine for turn in rounds]), _medians([turn.files for turn in rounds])
    served = {count: summary([turn.service[count] for turn in rounds]) for count in rounds[0].service}
    # which of them are the best is asked once: the best of each round would be that of its luck
    loop = max(engine, key=lambda each: engine[each]["images_per_s"])
    count = max(served, key=lambda each: served[each]["images_per_s"])
    threads = max(files, key=lambda each: files[each]["images_per_s"])
    ratios = {
        "throughput_of_the_engines": spread(
            [turn.service[count].images_per_s / turn.engine[loop]["images_per_s"] for turn in rounds]
        ),
        "throughput_from_file_to_file": spread(
            [turn.service[count].images_per_s / turn.files[threads]["images_per_s"] for turn in rounds]
        ),
        "best_concurrency": count,
        "best_loop": loop._asdict(),
        "best_threads": threads,
        "http_adds_ms": spread([turn.service[1].ms(50) - turn.files[1]["ms"] for turn in rounds]),
        "service_adds_ms": spread([turn.service[1].ms(50) - turn.engine[Loop(1, 1)]["ms"] for turn in rounds]),
    }
    rows = [each._asdict() | figures for each, figures in engine.items()]
    return {"engine": rows, "files": files, "service": served, "ratios": ratios}


def _medians(rounds: list[dict[T, Times]]) -> dict[T, Times]:
    """The median of each figure over rounds."""
    return {
        load: {key: round(statistics.median(turn[load][key] for turn in rounds), 2) for key in first}
        for load, first in rounds[0].items()
    }


def _open(server: Server, request: bytes, rates: list[float], arguments: argparse.Namespace) -> list[dict[str, float]]:
    loads: list[list[Load]] = [[] for _ in rates]
    for turn in range(arguments.rounds):
        _say(f"round {turn + 1} of {arguments.rounds}: random arrivals")
        for rate, found in zip(rates, loads, strict=True):
            found.append(asyncio.run(open_loop(server.port, request, rate, arguments.seconds, seed=turn)))
    return [{"rate": round(rate, 2)} | summary(found) for rate, found in zip(rates, loads, strict=True)]


def _ideal(rate: float, throughput: float, alone_ms: float, arguments: argparse.Namespace) -> dict[str, float]:
    """The latencies of an ideal queue for the arrivals of all rounds, milliseconds."""
    rounds = [arrivals(rate, arguments.seconds, seed) for seed in range(arguments.rounds)]
    loads = [Load([alone_ms / 1000 + wait for wait in ideal_waits(times, 1 / throughput)], 0, rate) for times in rounds]
    figures = summary(loads)
    return {f"ideal_{part}_ms": figures[f"{part}_ms"] for part in ("p50", "p99")}


def _table(result: dict[str, Any]) -> str:
    model, ratios, best = result["model"], result["ratios"], result["ratios"]["best_loop"]
    ran_on = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"{result['chip']}, {result['threads']} threads, {ran_on}",
        f"{model['name']}, {model['engine']}, {model['precision']}, {result['image']}, "
        f"medians of {result['rounds']} rounds of {result['seconds']:g} s",
        "",
        *(
            f"engine, {row['at_once']} x batch of {row['batch']:<3} {row['images_per_s']:8.2f} images/s; "
            f"{row['ms']:.1f} ms a batch"
            for row in result["engine"]
        ),
        *(
            f"file to file, {count} at a time {row['images_per_s']:8.2f} images/s; {row['ms']:.1f} ms a file"
            for count, row in result["files"].items()
        ),
        *(f"service, {count:>3} at a time  {_latencies(row)}" for count, row in result["service"].items()),
        *(f"service, {row['rate']:6.2f} come/s  {_latencies(row)}" for row in result["open_loop"]),
        "",
        *_by_unloaded(result),
        f"throughput over HTTP / the engine's: {shown(ratios['throughput_of_the_engines'])} "
        f"({ratios['best_concurrency']} at a time; {best['at_once']} x batch of {best['batch']})",
        f"throughput over HTTP / from file to file without HTTP: {shown(ratios['throughput_from_file_to_file'])} "
        f"({ratios['best_threads']} at a time)",
        f"the service adds {shown(ratios['service_adds_ms'])} ms to the engine's time of an image, "
        f"HTTP {shown(ratios['http_adds_ms'])} to that from file to file (p50, 1 at a time)",
        "in brackets: the lowest and the highest of the rounds",
    ]
    return "\n".join([*lines, *comparison.table(result.get("servers", {}))])


def _by_unloaded(result: dict[str, Any]) -> list[str]:
    """Says how random arrivals compare with one request at a time, and what the load generator took of the machine."""
    alone, lines = result["service"][1], []
    for row in result["open_loop"]:
        p50, p99, ideal_p50, ideal_p99 = (
            row[f"{part}_ms"] / alone["p50_ms"] for part in ("p50", "p99", "ideal_p50", "ideal_p99")
        )
        client = row["rate"] * row["client_ms"] / 1000
        lines.append(
            f"random arrivals, {row['rate']:.2f}/s: p50 {p50:.2f} and p99 {p99:.2f} times the p50 of 1 at a time; "
            f"an ideal queue: {ideal_p50:.2f} and {ideal_p99:.2f}; the load generator took {client:.1%} of a core"
        )
    return lines


def _latencies(row: dict[str, float]) -> str:
    percentiles = ", ".join(f"p{part} {row[f'p{part}_ms']:.1f}" for part in (50, 90, 99))
    return f"{row['images_per_s']:8.2f} images/s; ms: {percentiles}; {row['failed']} failed of {row['answers']}"


if __name__ == "__main__":
    sys.exit(main())
