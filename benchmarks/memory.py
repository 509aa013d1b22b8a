"""`python -m benchmarks.memory [--json] [--with-small]`: memory and time of large images, and what small ones wait.

Each size has a server of its own, since memory that was once had may be kept. It is looked at every 20 ms. The time a
megapixel takes is compared with that of images of 1024 x 1024, sent to the same server right after the large one.

--with-small: what an image of 512 x 512 waits while the largest one is being computed.
"""

import argparse
import asyncio
import json
import re
import signal
import statistics
import sys
import time
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from app.settings import SettingsError, load_settings
from model.engines.pytorch import chip, choose_device
from model.images.decoding import decode_image
from model.images.encoding import encode_png
from tests.support.measuring import Answer, Client, form, versions
from tests.support.servers import SAMPLE_S, Server, ServerError, service, watched
from training.synthetic import cells

SETTLE_S = 0.5
SMALL, USUAL = 512, 1024  # sides, pixels
HUGE = 4096  # larger ones are sent once
USUAL_POSTS, UNLOADED_POSTS = 3, 10
MIB = 2**20
LARGEST = 32_767  # OpenCV decodes no more than 2**30 pixels


def main() -> int:
    """The command; returns the exit code: 2 for bad arguments, 1 if a server fails."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with us
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sides", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192], help="of the square images, pixels"
    )
    parser.add_argument("--repeats", type=int, default=3, help=f"of images up to {HUGE} x {HUGE} (default: 3)")
    parser.add_argument("--with-small", action="store_true", help="time small images beside the largest one, too")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    arguments = parser.parse_args()
    if not all(1 <= side <= LARGEST for side in arguments.sides) or arguments.repeats < 1:
        parser.error(f"--sides must be 1 to {LARGEST}, --repeats at least 1")
    try:
        load_settings()
        result = measure(arguments)
    except SettingsError as error:
        parser.error(str(error))
    except ServerError as error:
        print(f"benchmarks.memory: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=1) if arguments.json else _table(result))
    return 0


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The result of the command. Raises ServerError."""
    settings = load_settings()
    sides = sorted(set(arguments.sides))
    result: dict[str, Any] = {
        "chip": chip(choose_device(settings.device)),
        "threads": settings.compute_threads,
        "versions": versions("torch", "openvino"),
        "tile": settings.tile,
        "sizes": [],
    }
    for side in sides:
        print(f"{side} x {side}", file=sys.stderr)
        image = picture(side)
        with _roomy_service(side, len(image)) as server:
            result["model"] = _model(server)
            result["sizes"].append(_measure_size(server, side, image, arguments.repeats if side <= HUGE else 1))
            if arguments.with_small and side == sides[-1]:
                result["with_small"] = {"side": side} | _with_small(server, image)
    return result


def picture(side: int) -> bytes:
    """The PNG of a grey image, S x S: cells of 512 x 512, side by side."""
    image, _ = cells(SMALL, np.random.default_rng(0))
    times = -(-side // SMALL)
    return encode_png(np.tile(image, (times, times))[:side, :side])


def _roomy_service(side: int, length: int) -> AbstractContextManager[Server]:
    """A server that takes such an image and, beside it, small ones."""
    settings = load_settings()
    return service(
        max_pixels=max(settings.max_pixels, side**2),
        # windows overlap: of the smallest tiles, far more is computed than the image has
        max_queue_pixels=max(settings.max_queue_pixels, 4 * (side + SMALL) ** 2),
        max_body_bytes=max(settings.max_body_bytes, length + MIB),
        deadline_s=max(settings.deadline_s, 3600.0),
    )


def _model(server: Server) -> dict[str, Any]:
    model = json.loads(server.get("/model").body)
    return {key: model[key] for key in ("name", "engine", "device", "precision", "tta")}


def _measure_size(server: Server, side: int, image: bytes, repeats: int) -> dict[str, Any]:
    """Raises ServerError if a mask is not as large as its image."""
    _post(server, picture(SMALL), SMALL)  # brings what any server has after its first image
    time.sleep(SETTLE_S)
    idle = server.rss
    with watched(server) as peak:
        first = _post(server, image, side)
    # the first image of several tiles waits until the engine is made ready for them: not measured, where there are more
    seconds, usual = _pace(server, side, image, repeats) if repeats > 1 else ([first], _usual(server))
    median, megapixels = statistics.median(seconds), side**2 / 1e6
    return {
        "side": side,
        "idle_mib": round(idle / MIB),
        "peak_above_idle_mib": round((peak.rss - idle) / MIB),
        "seconds": round(median, 3),
        "seconds_a_megapixel": round(median / megapixels, 4),
        "times_1024s": round(median / megapixels / (statistics.median(usual) / USUAL**2 * 1e6), 3),
        "repeats": repeats,
    }


def _pace(server: Server, side: int, image: bytes, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of such images and of those of 1024 x 1024; they take turns."""
    seconds, usual = list[float](), list[float]()
    for _ in range(repeats):
        seconds.append(_post(server, image, side))
        usual += _usual(server)
    return seconds, usual


def _usual(server: Server) -> list[float]:
    image = picture(USUAL)
    return [_post(server, image, USUAL) for _ in range(USUAL_POSTS)]


def _post(server: Server, image: bytes, side: int) -> float:
    """Seconds."""
    started = time.perf_counter()
    mask = server.mask(image)
    seconds = time.perf_counter() - started
    shape = decode_image(mask).shape
    if shape != (side, side):
        raise ServerError(f"the mask of {side} x {side} pixels has the shape {shape}")
    return seconds


def _with_small(server: Server, image: bytes) -> dict[str, Any]:
    """Measures latencies of small images, without and beside the large one, and its batches. Raises ServerError."""
    small = picture(SMALL)
    unloaded = [_post(server, small, SMALL) for _ in range(UNLOADED_POSTS)]
    before = _batches(server)
    alone = server.post(image)
    batches = _batches(server) - before
    loaded, both = asyncio.run(_beside(server, image, small))
    if not (alone.is_png and both.is_png and loaded):
        raise ServerError("the largest image failed, or was too quick for a small one beside it")
    return {
        "unloaded_median_ms": round(1000 * statistics.median(unloaded), 1),
        "median_ms": round(1000 * statistics.median(loaded), 1),
        "p90_ms": round(1000 * float(np.percentile(loaded, 90)), 1),
        "max_ms": round(1000 * max(loaded), 1),
        "answers": len(loaded),
        "batches": batches,
        "batch_ms": round(_infer_ms(alone) / batches, 1),
    }


async def _beside(server: Server, image: bytes, small: bytes) -> tuple[list[float], Answer]:
    """Seconds of the small images that came and went while the large one was being computed; its answer."""
    large, client = Client(server.port, form(server.path, image)), Client(server.port, form(server.path, small))
    metrics = Client(server.port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    before = _count((await metrics.ask()).body)
    answer = asyncio.create_task(large.ask())
    while not answer.done() and _count((await metrics.ask()).body) == before:
        await asyncio.wait({answer}, timeout=SAMPLE_S)
    seconds: list[float] = []
    while not answer.done():
        started = time.perf_counter()
        found = await client.ask()
        if found.is_png and not answer.done():
            seconds.append(time.perf_counter() - started)
    for each in (large, client, metrics):
        each.close()
    return seconds, await answer


def _batches(server: Server) -> int:
    return _count(server.get("/metrics").body)


def _count(metrics: bytes) -> int:
    """Batches that have been computed, by the service's metrics."""
    found = re.search(rb"^segment_batch_tiles_count (\S+)$", metrics, re.MULTILINE)
    return round(float(found[1])) if found else 0


def _infer_ms(answer: Answer) -> float:
    """From the start of the image's first batch to the end of its last."""
    found = re.search(r"infer;dur=([\d.]+)", answer.headers.get("server-timing", ""))
    return float(found[1]) if found else float("nan")


def _table(result: dict[str, Any]) -> str:
    model = result["model"]
    ran_on = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"{result['chip']}, {result['threads']} threads, {ran_on}",
        f"{model['name']}, {model['engine']}, {model['precision']}, tiles of {result['tile']}",
        "",
        "    side   idle MiB   peak above it   seconds   a megapixel   of 1024's",
        *(
            f"{row['side']:>8} {row['idle_mib']:>10} {row['peak_above_idle_mib']:>15} {row['seconds']:>9.2f} "
            f"{row['seconds_a_megapixel']:>13.3f} {row['times_1024s']:>11.2f}"
            for row in result["sizes"]
        ),
    ]
    if row := result.get("with_small"):
        lines += [
            "",
            f"{SMALL} x {SMALL} alone: {row['unloaded_median_ms']:.0f} ms; beside {row['side']} x {row['side']}: "
            f"median {row['median_ms']:.0f}, p90 {row['p90_ms']:.0f}, max {row['max_ms']:.0f} ms "
            f"({row['answers']} answers); a batch of the large one: {row['batch_ms']:.0f} ms",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
