"""`python -m benchmarks.engines [--json]`: images per second of the bundled net on each engine, and of the tutorial's.

Each run segments one grey image. All candidates take turns, so that other load on the machine hits all of them. Figures
are medians. The ratio to the tutorial is that of each turn: median, lowest and highest. The references are the
tutorial's net as it runs there, ONNX Runtime, and the chip's peak: the fastest multiplication of large matrices seen in
that precision. In fp32, OpenVINO and ONNX Runtime can exceed the peak, because Winograd's convolution saves
multiplications.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.engines.choice import Choice, choose, make_engine
from model.engines.engine import Array, Engine, EngineError
from model.engines.graph_weights import load_any
from model.engines.pytorch import TorchEngine, chip, choose_device, choose_precision
from model.unet import UNet, UNetConfig
from model.weights_file import BUNDLED, BUNDLED_INT8, load_weights
from tests.support.measuring import interleaved, shown, spread, versions
from training import recipe

TUTORIAL = "the tutorial's net, torch fp32, as it runs there"
TUTORIAL_NET = recipe.TUTORIAL.net

# Side of the matrices whose multiplication shows the peak: more than any cache holds, and quick enough.
MATRIX = 2048

Run = Callable[[], object]


@dataclass(frozen=True)
class Entry:
    """A net on an engine: what runs it once on an image of a side, its FLOP a pixel, and whose peak it is held to."""

    prepare: Callable[[int], Run]
    flop_per_pixel: float
    precision: str


def main() -> int:
    """The command; returns the exit code."""
    arguments = _parse()
    device = choose_device(arguments.device)
    torch.set_num_threads(arguments.threads or torch.get_num_threads())
    entries = _entries(device, arguments.widths, torch.get_num_threads())
    entries |= _others(device, arguments.weights, torch.get_num_threads())
    peaks = _peaks(device, arguments.repeats)
    result = {
        "chip": chip(device),
        "threads": torch.get_num_threads(),
        "versions": versions("torch", "openvino", "onnxruntime"),
        "repeats": arguments.repeats,
        "peak_gflops": {precision: round(peak / 1e9) for precision, peak in peaks.items()},
        "sides": {str(side): _measure(entries, side, arguments.repeats, peaks) for side in arguments.sides},
    }
    print(json.dumps(result, indent=1) if arguments.json else _table(result))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024], help="of the square image, pixels")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="default: torch's")
    parser.add_argument("--widths", type=int, nargs="+", default=[], help="random nets of these widths on torch, too")
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="other nets, each on the engine that suits it best",
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    grid = max(UNetConfig().grid, load_weights(BUNDLED).description.architecture.grid)
    if arguments.repeats < 1 or any(side % grid or side < grid for side in arguments.sides):
        parser.error(f"--repeats must be at least 1, --sides multiples of {grid}")
    try:
        choose_device(arguments.device)
    except EngineError as error:
        parser.error(str(error))
    return arguments


def _entries(device: torch.device, widths: list[int], threads: int) -> dict[str, Entry]:
    net = load_weights(BUNDLED).build_net()
    flop = _flop_per_pixel(net)
    half: str = choose_precision(device, "auto")
    entries = {TUTORIAL: Entry(lambda side: _tutorial(device, side), _flop_per_pixel(UNet(TUTORIAL_NET)), "fp32")}
    for precision in dict.fromkeys(("fp32", half)):
        entries[f"bundled net, torch {precision}"] = _entry(Choice("torch", str(device), precision), flop, threads)
    if device.type == "cpu" and find_spec("openvino"):
        for precision in dict.fromkeys(("fp32", half, "int8")):
            name = f"bundled net, openvino {precision}"
            entries[name] = _entry(Choice("openvino", "cpu", precision), flop, threads)
    if device.type == "cpu" and find_spec("onnxruntime"):
        entries["bundled net, ONNX Runtime fp32"] = Entry(lambda side: _onnx(net, side, threads), flop, "fp32")
    for width in widths:
        random = UNet(UNetConfig(width=width))
        flop = _flop_per_pixel(random)  # before the engine takes the net over
        entries[f"width {width}, torch {half}"] = Entry(_running(TorchEngine(random, str(device), half)), flop, half)
    return entries


def _others(device: torch.device, paths: list[Path], threads: int) -> dict[str, Entry]:
    entries = {}
    for path in paths:
        weights = load_any(path)
        choice = choose(weights, "auto", str(device), "auto")
        flop = _flop_per_pixel(UNet(weights.description.unet))
        engine = make_engine(weights, choice, threads)
        entries[f"{path.name}, {choice.engine} {choice.precision}"] = Entry(_running(engine), flop, choice.precision)
    return entries


def _entry(choice: Choice, flop: float, threads: int) -> Entry:
    engine = make_engine(load_any(BUNDLED_INT8 if choice.precision == "int8" else BUNDLED), choice, threads)
    return Entry(_running(engine), flop, choice.precision)


def _running(engine: Engine) -> Callable[[int], Run]:
    def prepare(side: int) -> Run:
        batch = _image(side)
        return lambda: engine.run(batch)

    return prepare


def _tutorial(device: torch.device, side: int) -> Run:
    net = UNet(TUTORIAL_NET).eval().to(device)
    image = torch.from_numpy(_image(side)).to(device)

    def run() -> object:
        with torch.no_grad():
            return net(image).cpu()

    return run


def _onnx(net: UNet, side: int, threads: int) -> Run:
    from training.export import onnx

    session = onnx.open_session(onnx.to_onnx(net), threads)
    batch = {onnx.INPUT: _image(side)}
    return lambda: session.run([onnx.OUTPUT], batch)


def _image(side: int) -> Array:
    return np.random.default_rng(0).standard_normal((1, 1, side, side), np.float32)


def _flop_per_pixel(net: UNet) -> float:
    """Two for each multiplication and addition."""
    side = 256
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, net.config.in_channels, side, side))
    return int(counter.get_total_flops()) / side**2


def _peaks(device: torch.device, repeats: int) -> dict[str, float]:
    """FLOP/s by precision, of the best of the repetitions."""
    one = torch.rand(MATRIX, MATRIX, device=device)
    runs: dict[str, Run] = {"fp32": lambda: (one @ one)[0, 0].item()}
    if (half := choose_precision(device, "auto")) != "fp32":
        low = one.bfloat16()
        runs[half] = lambda: (low @ low)[0, 0].item()
    byte = (one * 100).to(torch.int8)
    runs["int8"] = lambda: torch._int_mm(byte, byte)[0, 0].item()
    return {name: 2 * MATRIX**3 / min(times) for name, times in interleaved(runs, repeats).items()}


def _measure(entries: dict[str, Entry], side: int, repeats: int, peaks: dict[str, float]) -> dict[str, Any]:
    seconds = interleaved({name: entry.prepare(side) for name, entry in entries.items()}, repeats)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = {name: np.divide(seconds[TUTORIAL], times).tolist() for name, times in seconds.items()}
    return {
        name: {
            "ms": round(1000 * median, 1),
            "images_per_s": round(1 / median, 2),
            "times_the_tutorial": spread(ratios[name]),
            "share_of_peak": round(entries[name].flop_per_pixel * side**2 / median / peaks[entries[name].precision], 2),
        }
        for name, median in medians.items()
    }


def _table(result: dict[str, Any]) -> str:
    installed = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [f"{result['chip']}, {result['threads']} threads, {installed}"]
    lines.append("peak, GFLOP/s: " + ", ".join(f"{name} {peak}" for name, peak in result["peak_gflops"].items()))
    for side, rows in result["sides"].items():
        lines.append(f"\n{side} x {side}: ms, images/s, times the tutorial's (of all turns), share of the peak")
        for name, row in rows.items():
            figures = f"{row['ms']:9.1f} {row['images_per_s']:8.2f} {shown(row['times_the_tutorial']):>24}"
            lines.append(f"{figures} {row['share_of_peak']:6.0%}   {name}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
