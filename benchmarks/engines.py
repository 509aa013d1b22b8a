"""`python -m benchmarks.engines [--json]`: milliseconds of the bundled net and the tutorial's.

One grey image of 512 x 512, batch 1. The engines take turns, so that whatever else the machine does hits all of them;
the figures are medians, and the ratios are of medians of one run.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import torch
from model.engine import DTYPES, EngineError, TorchEngine, chip, choose_device, choose_precision

from benchmarks.measuring import interleaved
from model.unet import UNet, UNetConfig
from model.weights_file import load_weights

SIDE = 512
TUTORIAL = "the tutorial's net, eager, fp32, contiguous"


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[], help="nets of these widths, too, of random weights"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error("--repeats must be at least 1")
    try:
        device = choose_device(arguments.device)
    except EngineError as error:
        parser.error(str(error))
    runs = {TUTORIAL: _tutorial(device)}
    for precision in DTYPES:
        if precision == "fp32" or choose_precision(device, "auto") != "fp32":
            runs[f"bundled net, torch, {precision}"] = _engine(load_weights().build_net(), str(device), precision)
    for width in arguments.widths:
        precision = choose_precision(device, "auto")
        runs[f"width {width}, torch, {precision}"] = _engine(UNet(UNetConfig(width=width)), str(device), precision)
    seconds = interleaved(runs, arguments.repeats)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    result = {
        "chip": chip(device),
        "threads": torch.get_num_threads(),
        "torch": metadata.version("torch"),
        "image": f"{SIDE} x {SIDE}",
        "repeats": arguments.repeats,
        "ms": {name: round(1000 * median, 1) for name, median in medians.items()},
        "times_the_tutorial": {name: round(medians[TUTORIAL] / median, 2) for name, median in medians.items()},
    }
    print(json.dumps(result, indent=1) if arguments.json else _table(result))
    return 0


def _tutorial(device: torch.device) -> Callable[[], object]:
    net = UNet(UNetConfig(width=64, upsampling="bilinear_aligned", conv_bias=True)).eval().to(device)
    image = torch.rand(1, 1, SIDE, SIDE, device=device) * 255

    def run() -> object:
        with torch.no_grad():
            return net(image).cpu()

    return run


def _engine(net: UNet, device: str, precision: str) -> Callable[[], object]:
    engine = TorchEngine(net, device, precision)
    batch = np.random.default_rng(0).standard_normal((1, 1, SIDE, SIDE), np.float32)
    return lambda: engine.run(batch)


def _table(result: dict[str, Any]) -> str:
    ms, ratios = result["ms"], result["times_the_tutorial"]
    head = f"{result['chip']}, {result['threads']} threads, torch {result['torch']}, {result['image']}, medians"
    return "\n".join([head, *(f"{ms[name]:9.1f} ms {ratios[name]:7.2f} x   {name}" for name in ms)])


if __name__ == "__main__":
    sys.exit(main())
