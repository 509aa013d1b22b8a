"""The service and its peers take turns: same net, same image, same precision, same number of threads.

Only one server runs at a time, so that no server takes time from another.
"""

import asyncio
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from model.images.decoding import decode_image
from model.inputs.preprocessing import Values
from tests.support.measuring import Load, closed_loop, form, shown, spread, summary
from tests.support.servers import Server, ServerError, service, started

CONCURRENCY = (1, 8)
WARM_UP_S = 1.0
# Share of pixels. Batches of other sizes sum in another order, and so may other threads.
TOLERANCE = 0.005
OURS = ("this service, torch", "this service")
PACKAGES = {"litserve": "litserve", "ray": "ray[serve]"}


@dataclass(frozen=True)
class Peer:
    """A server to compare. `module`: its module in `benchmarks.peers`; None for the service itself."""

    module: str | None = None
    path: str = "/predict"
    settings: dict[str, object] = field(default_factory=lambda: {"engine": "torch"})

    def start(self, image: bytes) -> AbstractContextManager[Server]:
        if self.module is None:
            return service(**self.settings)
        module = f"benchmarks.peers.{self.module}"
        return started(module, self.path, lambda server: server.post(image).is_png, **self.settings)


PEERS = {
    OURS[0]: Peer(),
    OURS[1]: Peer(settings={}),
    "plain FastAPI, def": Peer("plain_fastapi"),
    "plain FastAPI, async def": Peer("plain_fastapi", "/async/predict"),
    "LitServe": Peer("litserve_peer"),
    "Ray Serve": Peer("ray_peer"),
}


def missing_packages() -> list[str]:
    """Names the packages that pip must install first."""
    return [package for module, package in PACKAGES.items() if find_spec(module) is None]


def compare(image: bytes, rounds: int, seconds: float) -> dict[str, Any]:
    """Figures by server, and how ours compare with them. Raises ServerError, also if a mask is another one."""
    differing = _check_masks(image)
    loads: dict[str, list[dict[int, Load]]] = {name: [] for name in PEERS}
    for turn in range(rounds):
        for name, peer in PEERS.items():
            print(f"round {turn + 1} of {rounds}: {name}", file=sys.stderr)
            loads[name].append(_measure(peer, image, seconds))
    return {
        name: {"mask_differs": round(differing[name], 5)}
        | {f"at_{count}": summary([load[count] for load in turns]) for count in CONCURRENCY}
        | {ours: _ratios(loads[ours], turns) for ours in OURS if name not in OURS}
        for name, turns in loads.items()
    }


def _check_masks(image: bytes) -> dict[str, float]:
    """The share of pixels in which each server's mask differs from that of the service with the torch engine."""
    masks = {}
    for name, peer in PEERS.items():
        print(f"mask of {name}", file=sys.stderr)
        with peer.start(image) as server:
            masks[name] = decode_image(server.mask(image))
    ours = masks[OURS[0]]
    differing = {name: _difference(mask, ours) for name, mask in masks.items()}
    for name, share in differing.items():
        if share > TOLERANCE and name not in OURS:  # other engines may differ; how much is in the result
            raise ServerError(f"the mask of {name} differs from ours in {share:.2%} of its pixels")
    return differing


def _difference(mask: Values, other: Values) -> float:
    return float((mask != other).mean()) if mask.shape == other.shape else 1.0


def _measure(peer: Peer, image: bytes, seconds: float) -> dict[int, Load]:
    with peer.start(image) as server:
        request = form(server.path, image)
        asyncio.run(closed_loop(server.port, request, max(CONCURRENCY), min(seconds, WARM_UP_S)))
        return {count: asyncio.run(closed_loop(server.port, request, count, seconds)) for count in CONCURRENCY}


def _ratios(ours: list[dict[int, Load]], theirs: list[dict[int, Load]]) -> dict[str, list[float]]:
    """The spread over rounds of ours divided by theirs: throughput at each concurrency, and p50."""
    pairs = list(zip(ours, theirs, strict=True))
    ratios = {}
    for count in CONCURRENCY:
        throughputs = [our[count].images_per_s / their[count].images_per_s for our, their in pairs]
        latencies = [our[count].ms(50) / their[count].ms(50) for our, their in pairs]
        ratios[f"images_per_s_at_{count}"] = spread(throughputs)
        ratios[f"p50_at_{count}"] = spread(latencies)
    return ratios


def table(servers: dict[str, Any]) -> list[str]:
    """Lines for people: a row a server and concurrency."""
    if not servers:
        return []
    rounds = "median (lowest to highest) of the rounds"
    at = " ".join(f"{title:>9}" for title in ("images/s", "p50 ms", "p90 ms", "p99 ms", "failed"))
    lines = ["", f"{'':<26}{'conc.':>6} {at}   ours / theirs, images/s: torch, default; {rounds}"]
    for name, figures in servers.items():
        for count in CONCURRENCY:
            row = figures[f"at_{count}"]
            cells = [f"{row[key]:>9.1f}" for key in ("images_per_s", "p50_ms", "p90_ms", "p99_ms")]
            ratios = ", ".join(shown(figures[ours][f"images_per_s_at_{count}"]) for ours in OURS if ours in figures)
            lines.append(f"{name:<26}{count:>6} {' '.join(cells)} {row['failed']:>9}   {ratios}")
    return lines
