"""`python -m benchmarks.gpu [--json]`: what the service and the training do on a GPU, in ten minutes.

1. Parity: how far the bundled net's probabilities on the device are from those of the CPU in fp32, and the share of the
   mask's pixels that differ.
2. Images a second of the service's engine, copies to and from the device included, by side, batch and precision.
3. The net without copies, on a tensor that stays on the device: as the engine runs it, compiled, and replayed as a
   CUDA graph. The tiles of a service have few shapes, so both could be prepared for them.
4. Images a second over HTTP.
5. Steps a second of the recipe for membranes and of the tutorial's.

The parts print as they finish. One that fails says why, the others still run, and the exit code is 1. With
`--device cpu` the command runs anywhere, slowly, without part 3's CUDA graph.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch

from benchmarks.service import IMAGE
from benchmarks.training import measure_paces
from model.engines.choice import Choice, make_engine
from model.engines.engine import Array, EngineError
from model.engines.pytorch import DTYPES, chip, choose_device, choose_precision
from model.images.decoding import decode_image
from model.segmenter import Segmenter
from model.unet import UNet
from model.weights_file import BUNDLED, load_weights
from tests.support.measuring import closed_loop, form, interleaved, shown, spread, summary, versions
from tests.support.servers import service
from training.recipe import DEFAULT

PARTS = "parity", "engine", "net", "http", "training"
PRECISIONS = "fp32", "bf16", "fp16"
MEGA = 2**20
# More pixels in a batch than this do not fit into the memory of small GPUs at full resolution.
MOST_PIXELS = 32 * MEGA

Result = dict[str, Any]


def main() -> int:
    """The command; returns the exit code."""
    arguments = _parse()
    device = choose_device(arguments.device)
    parts: dict[str, Callable[[], Result]] = {
        "parity": lambda: measure_parity(device),
        "engine": lambda: measure_engine(device, arguments.sides, arguments.batches, arguments.repeats),
        "net": lambda: measure_net(device, min(arguments.sides), arguments.batches, arguments.repeats),
        "http": lambda: measure_http(device, arguments.connections, arguments.seconds),
        "training": lambda: measure_training(device, arguments.repeats),
    }
    parts = {name: measure for name, measure in parts.items() if name in arguments.parts}
    result: Result = {"chip": chip(device), "versions": versions("torch"), "failed": {}}
    for name, measure in parts.items():
        started = time.perf_counter()
        try:
            result[name] = measure()
        except Exception as error:  # noqa: BLE001  # a part of ten minutes on a lent machine: keep the other parts
            result["failed"][name] = f"{type(error).__name__}: {error}"
        _say(name, result, time.perf_counter() - started)
    if arguments.json:
        print(json.dumps(result, indent=1))
    return int(bool(result["failed"]))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda (the default), cuda:1, mps, cpu")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 4096], help="of the square image, pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64], help="images in a batch")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32], help="over HTTP, with a request each")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement over HTTP")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    arguments = parser.parse_args()
    grid = load_weights(BUNDLED).description.architecture.grid
    if any(side < grid or side % grid for side in arguments.sides):
        parser.error(f"--sides must be multiples of {grid}")
    if min(arguments.repeats, *arguments.batches, *arguments.connections) < 1 or arguments.seconds <= 0:
        parser.error("--repeats, --batches and --connections must be at least 1, --seconds more than 0")
    try:
        choose_device(arguments.device)
    except EngineError as error:
        parser.error(str(error))
    return arguments


def _say(part: str, result: Result, seconds: float) -> None:
    print(f"\n{part} ({seconds:.0f} s)", file=sys.stderr)
    if part in result["failed"]:
        print(f"  failed: {result['failed'][part]}", file=sys.stderr)
    for name, figure in result.get(part, {}).items():
        print(f"  {name}: {figure}", file=sys.stderr, flush=True)


def measure_parity(device: torch.device) -> Result:
    """The largest difference of a probability, and the share of pixels whose mask differs, by precision."""
    image = decode_image(IMAGE.read_bytes())
    reference = Segmenter.load(BUNDLED, engine="torch", device="cpu", precision="fp32")
    expected, threshold = reference.probabilities(image), reference.description.threshold
    result = {}
    for precision in PRECISIONS:
        found = Segmenter.load(BUNDLED, engine="torch", device=str(device), precision=precision).probabilities(image)
        flipped = ((found >= threshold) != (expected >= threshold)).mean()
        result[precision] = f"largest difference {np.abs(found - expected).max():.5f}, mask differs in {flipped:.4%}"
    return result


def measure_engine(device: torch.device, sides: list[int], batches: list[int], repeats: int) -> Result:
    """Images a second of the engine, from and to NumPy arrays."""
    result = {}
    for precision in PRECISIONS:
        engine = make_engine(load_weights(BUNDLED), Choice("torch", str(device), precision))
        for side, count in product(sides, batches):
            if count > 1 and count * side**2 > MOST_PIXELS:
                continue
            batch = _images(count, side)
            [seconds] = interleaved({"": partial(engine.run, batch)}, repeats).values()
            rates = spread([count / each for each in seconds])
            result[f"{side} x {side}, batch of {count}, {precision}"] = f"{shown(rates)} images/s"
    return result


def measure_net(device: torch.device, side: int, batches: list[int], repeats: int) -> Result:
    """Milliseconds of the net on a tensor of the device, in the device's own precision."""
    dtype = DTYPES[choose_precision(device, "auto")]
    net = load_weights(BUNDLED).build_net().eval().requires_grad_(False).to(device, dtype)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    compiled, result = torch.compile(net, dynamic=False), {}
    with torch.inference_mode():
        for count in batches:
            x = torch.from_numpy(_images(count, side)).to(device, dtype).contiguous(memory_format=torch.channels_last)
            runs: dict[str, Callable[[], object]] = {
                "as the engine runs it": partial(net, x),
                "compiled": partial(compiled, x),
            }
            if device.type == "cuda":
                runs["CUDA graph"] = _graph(net, x)
            timed = interleaved({name: _until_done(run, device) for name, run in runs.items()}, repeats)
            for name, seconds in timed.items():
                milliseconds = spread([1000 * each for each in seconds])
                result[f"{side} x {side}, batch of {count}, {name}"] = f"{shown(milliseconds)} ms"
    return result


def _graph(net: UNet, x: torch.Tensor) -> Callable[[], object]:
    """Records the net's kernels once, after a warm-up on another stream, as torch's guide asks."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            net(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        net(x)
    return graph.replay


def _until_done(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    def wait() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()

    return wait


def measure_http(device: torch.device, connections: list[int], seconds: float) -> Result:
    """Images a second of the service with the torch engine, and latencies."""
    image, result = IMAGE.read_bytes(), {}
    with service(engine="torch", device=str(device)) as server:
        server.mask(image)
        request = form(server.path, image)
        for count in connections:
            figures = summary([asyncio.run(closed_loop(server.port, request, count, seconds))])
            result[f"{count} at a time"] = ", ".join(f"{name} {figure:g}" for name, figure in figures.items())
    return result


def measure_training(device: torch.device, repeats: int) -> Result:
    """Steps a second, by recipe and precision."""
    half = DEFAULT.model_copy(update={"net": DEFAULT.net.model_copy(update={"downsampling": 2})})
    paces = measure_paces(device, half, repeats, compiled=False)
    return {name: f"{1 / seconds:.2f} steps/s" for name, seconds in paces.items()}


def _images(count: int, side: int) -> Array:
    return np.random.default_rng(0).standard_normal((count, 1, side, side), np.float32)


if __name__ == "__main__":
    sys.exit(main())
