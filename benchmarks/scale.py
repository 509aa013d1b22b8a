"""`python -m benchmarks.scale [--json]`: one and two engines of a Ray cluster, measured and simulated; then many.

The cost of each step is measured separately: engine, decoding, encoding, and, from single requests to one engine, HTTP
and Ray. The simulation knows only these costs. Measured times of one and two engines, of one core each, show how good
it is. Then it predicts larger clusters, which were not measured.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch

from benchmarks.memory import picture
from benchmarks.simulation import HALO, MEGA, SIDE, Cluster, Costs, Outcome, Simulation
from model.engines.choice import bundled_weights, choose, make_engine
from model.engines.graph_weights import load_any
from model.engines.pytorch import chip
from model.images.decoding import decode_image
from model.images.encoding import encode_png
from model.inputs.preprocessing import Pixels
from model.segmenter import Segmenter, to_mask
from tests.end_to_end.cluster import Cluster as Running
from tests.end_to_end.cluster import cluster
from tests.support.measuring import Answer, closed_loop, form, versions
from tests.support.servers import ask_once, free_port

SMALL, CLIENTS = 512, 8
REPEATS, LARGE_REPEATS = 5, 3
SETTLE_S = 10.0
ENGINES = (1, 2)

# Of the predictions: a gigabyte a second is what 10 Gb/s Ethernet carries.
NETWORK_MB_PER_S = 1000.0
MANY = (1, 2, 4, 8, 16, 32, 64, 128)
# A lab at work sends an image of 2048 x 2048 at random times, on average every LAB_GAP_S seconds.
LAB_SIDE, LAB_GAP_S, LABS = 2048, 120.0, 1000
LAB_ENGINES = (20, 24, 28, 32, 40, 48, 64, 96)
LAB_SECONDS = 1800.0
# Volumes and slides, megapixels of one byte, and the hours that they may take.
BULK = {"a petabyte volume": (1e9, 30 * 24.0), "a slide of 100,000 x 100,000": (1e4, 0.1)}


def main() -> int:
    """The command; returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8192, help="of the large image, pixels (default: 8192)")
    parser.add_argument("--seconds", type=float, default=20, help="seconds of small images per number of engines")
    note = "measure the large image again, with this share of a core per engine (by cpulimit)"
    parser.add_argument(
        "--share", type=float, metavar="PART", help=f"{note}, so that it shares none with front and Ray"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--core-hour", type=float, default=0.04, metavar="USD", help="price of a core (default: 0.04)")
    parser.add_argument("--costs", type=json.loads, metavar="JSON", help="take these costs, measure nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    arguments = parser.parse_args()
    if arguments.share and not shutil.which("cpulimit"):
        parser.error("--share needs the command cpulimit (Debian's package of that name)")
    result = predict(Costs(**arguments.costs), arguments) if arguments.costs else measure(arguments)
    print(json.dumps(result, indent=1) if arguments.json else _tables(result))
    return 0


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The result of the command."""
    costs, measured, limited, large = _alone(), [], [], picture(arguments.side)
    for engines in ENGINES:
        _say(f"{engines} engines")
        with _cluster(engines) as (running, port):
            if engines == 1:
                costs = _with_http(costs, port)
            measured.append(_load(port, large, arguments.seconds))
            if arguments.share:
                with _limited(running.replicas("Engine"), arguments.share):
                    limited.append(_median(lambda: _post(port, large), LARGE_REPEATS))
    simulated = [_simulate(costs, engines, arguments) for engines in ENGINES]
    return {
        "chip": chip(torch.device("cpu")),
        "cores": os.cpu_count(),
        "versions": versions("torch", "openvino", "ray"),
        "side": arguments.side,
        "measured": measured,
        "simulated": simulated,
        "share": arguments.share,
        "limited_s": limited,
        **predict(costs, arguments),
    }


def predict(costs: Costs, arguments: argparse.Namespace) -> dict[str, Any]:
    """Simulates clusters that were not available: engines of one core each and fronts, all on separate machines."""
    large, labs = [], []
    for engines in MANY:
        there = Cluster(engines, fronts=1, mb_per_s=NETWORK_MB_PER_S)
        large.append({"engines": engines} | _seconds(Simulation(costs, there, arguments.seed).arrivals([(0, 8192)])))
    random = np.random.default_rng(arguments.seed)
    gaps = random.exponential(LAB_GAP_S / LABS, round(LABS * LAB_SECONDS / LAB_GAP_S))
    requests = [(float(at), LAB_SIDE) for at in gaps.cumsum()]
    for engines in LAB_ENGINES:
        there = Cluster(engines, fronts=2, mb_per_s=NETWORK_MB_PER_S)
        labs.append({"engines": engines} | _seconds(Simulation(costs, there, arguments.seed).arrivals(requests)))
    bulk = [_bulk(costs, name, *job, arguments.core_hour) for name, job in BULK.items()]
    return {"costs": asdict(costs), "large": large, "labs": labs, "bulk": bulk}


def _bulk(costs: Costs, name: str, megapixels: float, hours: float, core_hour: float) -> dict[str, Any]:
    """Computes the needs of a bulk job in tiles of the largest size, whose workers share only the storage."""
    core = ((SIDE - 2 * HALO) / SIDE) ** 2  # of a window
    seconds = megapixels * (costs.compute / core + costs.tile / (core * SIDE**2 / MEGA))
    seconds += megapixels * (costs.decode / core + costs.encode)
    cores, moved = seconds / 3600 / hours, megapixels / core + megapixels
    return {
        "job": name,
        "core_hours": round(seconds / 3600, 1),
        "usd": round(seconds / 3600 * core_hour, 2),
        "hours": hours,
        "cores": round(cores, 1),
        "mb_per_s_a_core": round(moved / seconds, 2),
        "mb_per_s": round(cores * moved / seconds, 1),
    }


def _seconds(outcome: Outcome) -> dict[str, float]:
    return {
        "p50_s": round(outcome.percentile(0.5), 3),
        "p99_s": round(outcome.percentile(0.99), 3),
        "busy": round(outcome.busy, 3),
    }


def _alone() -> Costs:
    """Measures the steps without HTTP and Ray."""
    _say("the engine without HTTP")
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        tile, compute = pool.submit(_engine_costs).result()
        together = [each.result() for each in [pool.submit(_engine_costs) for _ in range(os.cpu_count() or 1)]]
    crowding = statistics.mean(slope for _, slope in together) / compute
    image = decode_image(picture(4 * SMALL))
    megapixels = image.size / MEGA
    mask, file = to_mask(image[None].astype(np.float32) / np.float32(255), 0.5), encode_png(cast(Pixels, image))
    decode = _median(lambda: decode_image(file)) / megapixels
    encode = _median(lambda: encode_png(mask)) / megapixels
    return Costs(decode, encode, 0.0, 0.0, tile, compute, max(1.0, crowding))


def _median(run: Callable[[], object], repeats: int = REPEATS) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _engine_costs() -> tuple[float, float]:
    """Seconds of a tile, and of a megapixel on top, of the default engine on one thread."""
    segmenter = _one_thread()
    points = []
    for side in (SMALL, 3 * SIDE):  # for the large side, a tile in the middle: most of its decoder is skipped
        task = segmenter.task(np.random.default_rng(0).integers(0, 256, (side, side), np.uint8))
        tile = task.tiles[len(task.tiles) // 2]
        segmenter.compute_batch([(task, tile)])
        points.append((tile.pixels / MEGA, _median(partial(segmenter.compute_batch, [(task, tile)]))))
    (small, quick), (large, slow) = points
    slope = (slow - quick) / (large - small)
    return max(0.0, quick - slope * small), slope


def _one_thread() -> Segmenter:
    weights = load_any(bundled_weights())
    return Segmenter(weights, make_engine(weights, choose(weights), threads=1))


@contextmanager
def _cluster(engines: int) -> Iterator[tuple[Running, int]]:
    """A cluster that is ready, and has seen an image of each kind; its port."""
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), free_port(), engines, threads=1) as running:
        port = int(running.url.rpartition(":")[2])
        for side in (SMALL, SMALL, SIDE, SIDE):
            _post(port, picture(side))
        yield running, port


@contextmanager
def _limited(engines: list[psutil.Process], share: float) -> Iterator[None]:
    """Limits each engine to a share of a core while the context lasts."""
    limit = ["--limit", f"{100 * share:.0f}", "--lazy"]
    commands = [["cpulimit", "--pid", str(engine.pid), *limit] for engine in engines]
    limiters = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    try:
        yield
    finally:
        for limiter in limiters:
            limiter.terminate()  # it resumes the engine when it ends
            limiter.wait()


def _post(port: int, image: bytes) -> Answer:
    answer = asyncio.run(ask_once(port, form("/segment", image)))
    if not answer.is_png:
        raise SystemExit(f"benchmarks.scale: {answer.status} {answer.body[:200].decode(errors='replace')}")
    return answer


def _with_http(costs: Costs, port: int) -> Costs:
    """Measures the cost of HTTP and Ray for an image of one tile, by the timing in the answer."""
    send, request, image = [], [], picture(SMALL)
    megapixels = SMALL * SMALL / MEGA
    for _ in range(4 * REPEATS):
        started = time.perf_counter()
        timing = _post(port, image).headers["server-timing"]
        seconds = time.perf_counter() - started
        stages = {name: float(ms) / 1000 for name, ms in re.findall(r"(\w+);dur=([\d.]+)", timing)}
        send.append(stages["infer"] - costs.tile - costs.compute * megapixels)
        request.append(seconds - sum(stages.values()))
    background = psutil.cpu_percent(SETTLE_S) / 100 * (os.cpu_count() or 1)
    costs = replace(costs, background=background)
    return replace(costs, send=max(0.0, statistics.median(send)), request=max(0.0, statistics.median(request)))


def _load(port: int, large: bytes, seconds: float) -> dict[str, float]:
    took = _median(lambda: _post(port, large), LARGE_REPEATS)
    load = asyncio.run(closed_loop(port, form("/segment", picture(SMALL)), CLIENTS, seconds))
    return {"large_s": took, "images_per_s": load.images_per_s, "p50_s": load.ms(50) / 1000}


def _simulate(costs: Costs, engines: int, arguments: argparse.Namespace) -> dict[str, float]:
    here = Cluster(engines, cores=os.cpu_count())
    large = Simulation(costs, here, arguments.seed).arrivals([(0, arguments.side)])
    small = Simulation(costs, here, arguments.seed).clients(CLIENTS, SMALL, 60)
    return {
        "large_s": large.latencies[0],
        "images_per_s": small.images_per_s,
        "p50_s": small.percentile(0.5),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _tables(result: dict[str, Any]) -> str:
    lines = [", ".join(f"{name} {value:.4f}" for name, value in result["costs"].items())]
    if "measured" in result:
        lines += [f"{result['chip']}, {result['cores']} cores, {result['versions']}", ""]
        names = {"large_s": f"{result['side']} x {result['side']}, s", "images_per_s": "512 x 512, images/s"}
        names["p50_s"] = "512 x 512, p50, s"
        lines += ["| | engines | measured | simulated | simulated / measured |", "|---" * 5 + "|"]
        for key, name in names.items():
            for engines, real, model in zip(ENGINES, result["measured"], result["simulated"], strict=True):
                ratio = model[key] / real[key]
                lines.append(f"| {name} | {engines} | {real[key]:.2f} | {model[key]:.2f} | {ratio:.2f} |")
        one, two = (each["large_s"] for each in result["measured"])
        lines += ["", f"the large image on two engines takes {two / one:.2f} of the time on one"]
        if result["share"]:
            one, two = result["limited_s"]
            lines += [f"with {result['share']:g} of a core for each: {one:.2f} and {two:.2f} s, {two / one:.2f}"]
    for title, rows in (("8192 x 8192", result["large"]), (f"{LABS} labs", result["labs"])):
        lines += ["", f"| {title}: engines | p50, s | p99, s | busy |", "|---" * 4 + "|"]
        lines += [f"| {row['engines']} | {row['p50_s']} | {row['p99_s']} | {row['busy']:.0%} |" for row in rows]
    lines += ["", "| job | core hours | USD | within hours | cores | MB/s a core | MB/s in all |", "|---" * 7 + "|"]
    lines += [f"| {' | '.join(str(value) for value in row.values())} |" for row in result["bulk"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
