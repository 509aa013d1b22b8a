"""`python -m benchmarks.several_nets [--json]`: what it costs to serve several nets in one process.

One service has all nets, and each of the others has one. All answer the same requests, in several rounds that take
turns, so that other load on the machine hits all of them. Masks of the first service must equal those of the others.

A net's share of the machine is 1 / connections. The share's latency of an image is the time that its net takes for an
image when it is served separately under the same load, times the number of connections.
"""

import argparse
import asyncio
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.settings import SettingsError, load_settings
from model.engines.choice import bundled_nets
from model.engines.graph_weights import load_any
from model.engines.pytorch import chip, choose_device
from model.images.encoding import encode_png
from model.inputs.preprocessing import Preprocessing
from model.unet import UNet, UNetConfig
from model.weights_file import Description, save_weights
from tests.support.measuring import Client, form, shown, spread, versions
from tests.support.servers import Server, ServerError, service
from training.synthetic import cells

SIDES = (512, 512, 384, 700)  # of the images, pixels
MIB = 2**20
LARGE = 3200


@dataclass(frozen=True)
class Answered:
    """One answer: the net and the image that were asked for, seconds, and the mask."""

    net: str
    image: int
    seconds: float
    mask: bytes


@dataclass(frozen=True)
class Run:
    """All answers of one load on one service, and the seconds from the first request to the last answer."""

    answers: Sequence[Answered]
    seconds: float

    def p50(self, net: str) -> float:
        return statistics.median(answer.seconds for answer in self.answers if answer.net == net)


def main() -> int:
    """The command; returns the exit code: 2 for bad arguments, 1 if a server fails or a mask differs."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with us
    parser = argparse.ArgumentParser(prog="python -m benchmarks.several_nets", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=600, help="in a round, of all nets together (default: 600)")
    parser.add_argument("--rounds", type=int, default=3, help="how often all services take turns (default: 3)")
    parser.add_argument("--connections", type=int, default=16, help="requests at once (default: 16)")
    parser.add_argument("--weights", type=Path, help="a net of several classes (default: one that was not trained)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    arguments = parser.parse_args()
    if min(arguments.requests, arguments.rounds, arguments.connections) < 1:
        parser.error("--requests, --rounds and --connections must be at least 1")
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(arguments, Path(folder))
    except SettingsError as error:
        parser.error(str(error))
    except ServerError as error:
        print(f"benchmarks.several_nets: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=1) if arguments.json else _table(result))
    return 0


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns the result of the command. Raises ServerError."""
    nets = _nets(folder, arguments.weights)
    images = [encode_png(cells(side, np.random.default_rng(seed))[0]) for seed, side in enumerate(SIDES)]
    with _services(nets, folder) as (together, singles):
        memory = {"all_nets_mib": _idle(together, nets, images), "one_net_mib": {}}
        memory["one_net_mib"] = {net: _idle(server, [net], images) for net, server in singles.items()}
        rounds = []
        for turn in range(arguments.rounds):
            print(f"round {turn + 1} of {arguments.rounds}", file=sys.stderr)
            rounds.append(_round(together, singles, images, arguments, turn))
        memory["all_nets_after_large_mib"] = _after_large(together, nets)
    settings = load_settings()
    return {
        "chip": chip(choose_device(settings.device)),
        "threads": settings.compute_threads,
        "versions": versions("torch", "openvino"),
        "connections": arguments.connections,
        "requests": arguments.requests * arguments.rounds,
        "throughput_ratio": spread([_throughput_ratio(*each) for each in rounds]),
        "nets": {net: _net_figures(net, rounds, arguments.connections) for net in nets},
        "memory": memory,
    }


def _nets(folder: Path, classes: Path | None) -> dict[str, Path]:
    """Returns the files of the bundled nets and of a net of several classes, by name."""
    settings = load_settings()
    paths = bundled_nets(settings.engine, settings.device, settings.precision)
    paths.append(classes or _save_classes(folder / "classes.safetensors"))
    return {load_any(path).description.name: path for path in paths}


def _save_classes(path: Path) -> Path:
    """Saves a net of five classes with random weights, which take as long as trained ones."""
    torch.manual_seed(0)
    net = UNet(UNetConfig(in_channels=3, classes=5, width=16, depth=4)).eval()
    preprocessing = Preprocessing(channels="rgb", normalisation="zscore")
    description = Description(name=path.stem, architecture=net.config, preprocessing=preprocessing)
    save_weights(path, net.state_dict(), description)
    return path


@contextmanager
def _services(nets: Mapping[str, Path], folder: Path) -> Iterator[tuple[Server, dict[str, Server]]]:
    """Yields the service of all nets, and one for each net."""
    (folder / "served").mkdir()
    for path in nets.values():
        for file in {path, path.with_suffix(".bin")}:
            if file.exists():
                shutil.copy(file, folder / "served")
    with ExitStack() as stack:
        together = stack.enter_context(service(weights=folder / "served", watch_s=0))
        yield together, {net: stack.enter_context(service(weights=path, watch_s=0)) for net, path in nets.items()}


def _idle(server: Server, nets: Sequence[str] | Mapping[str, Path], images: Sequence[bytes]) -> int:
    """Returns the memory of a service in MiB after a few images for each net."""
    for net in nets:
        asyncio.run(_load(server, [(net, image) for image in range(len(images))], images, 2))
    return round(server.rss / MIB)


def _after_large(server: Server, nets: Mapping[str, Path]) -> int:
    """Returns the memory of a service in MiB after a large image for each net."""
    image = [encode_png(np.tile(cells(512, np.random.default_rng(0))[0], (7, 7))[:LARGE, :LARGE])]
    for net in nets:
        asyncio.run(_load(server, [(net, 0)], image, 1))
    return round(server.rss / MIB)


def _round(
    together: Server, singles: Mapping[str, Server], images: Sequence[bytes], arguments: argparse.Namespace, seed: int
) -> tuple[Run, dict[str, Run]]:
    """Raises ServerError if masks differ."""
    names = list(singles)
    wanted = [(names[number % len(names)], number // len(names) % len(images)) for number in range(arguments.requests)]
    random.Random(seed).shuffle(wanted)  # noqa: S311 - nothing to guess
    mixed = asyncio.run(_load(together, wanted, images, arguments.connections))
    separate = {
        net: asyncio.run(_load(server, [each for each in wanted if each[0] == net], images, arguments.connections))
        for net, server in singles.items()
    }
    _compare(mixed, separate)
    return mixed, separate


def _compare(mixed: Run, separate: Mapping[str, Run]) -> None:
    expected = {(answer.net, answer.image): answer.mask for run in separate.values() for answer in run.answers}
    for answer in mixed.answers:
        if answer.mask != expected[answer.net, answer.image]:
            raise ServerError(f"the mask of image {answer.image} by {answer.net} differs from that of a single net")


async def _load(server: Server, wanted: Sequence[tuple[str, int]], images: Sequence[bytes], connections: int) -> Run:
    """Sends requests for (net, image), a number of them at once. Raises ServerError if one fails."""
    waiting, answers = list(wanted), list[Answered]()

    async def ask_on() -> None:
        clients = dict[tuple[str, int], Client]()
        while waiting:
            net, image = key = waiting.pop()
            if key not in clients:
                clients[key] = Client(server.port, form(f"/segment?model={net}", images[image]))
            begun = time.perf_counter()
            answer = await clients[key].ask()
            if not answer.is_png:
                raise ServerError(f"{net}: status {answer.status}")
            answers.append(Answered(net, image, time.perf_counter() - begun, answer.body))
        for client in clients.values():
            client.close()

    begun = time.perf_counter()
    await asyncio.gather(*(ask_on() for _ in range(connections)))
    return Run(answers, time.perf_counter() - begun)


def _throughput_ratio(mixed: Run, separate: Mapping[str, Run]) -> float:
    """Returns the time of the separate services for the same images, by the time of the service of all nets."""
    return sum(run.seconds for run in separate.values()) / mixed.seconds


def _net_figures(net: str, rounds: Sequence[tuple[Run, dict[str, Run]]], connections: int) -> dict[str, Any]:
    each = [(mixed, separate[net], separate[net].seconds / len(separate[net].answers)) for mixed, separate in rounds]
    return {
        "images_per_s_separate": spread([1 / seconds for *_, seconds in each]),
        "p50_ms_separate": spread([1000 * single.p50(net) for _, single, _ in each]),
        "p50_ms": spread([1000 * mixed.p50(net) for mixed, *_ in each]),
        "p50_by_share": spread([mixed.p50(net) / (connections * seconds) for mixed, _, seconds in each]),
    }


def _table(result: dict[str, Any]) -> str:
    ran_on = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    memory = result["memory"]
    lines = [
        f"{result['chip']}, {result['threads']} threads, {ran_on}",
        f"{result['requests']} requests, {result['connections']} at once; median (lowest to highest) of the rounds",
        "",
        f"throughput of all nets in one service / separate services: {shown(result['throughput_ratio'])}",
        "",
        "| net | images/s, separate | p50 separate, ms | p50 of all in one, ms | p50 / its share |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {net} | {' | '.join(map(shown, figures.values()))} |" for net, figures in result["nets"].items()]
    separate = ", ".join(f"{net} {mib}" for net, mib in memory["one_net_mib"].items())
    lines += [
        "",
        f"memory, MiB: {memory['all_nets_mib']} with all nets; separate: {separate}",
        f"after an image of {LARGE} x {LARGE} for each net: {memory['all_nets_after_large_mib']}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
