"""The trainers that are compared: each trains on a folder for some minutes, then segments the test images.

Trainers run as commands of their own, one at a time, with the same cores.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.parts import Parts
from benchmarks.datasets.scoring import Found
from benchmarks.datasets.sets import KnownSet
from benchmarks.datasets.truth import Kind
from benchmarks.peers.training_script import RECORD
from model.images.decoding import decode_image
from model.inputs.preprocessing import Values
from model.outputs.objects import find_regions
from model.predict.inputs import RESULT
from model.weights_file import Description, load_weights
from tests.support.servers import ROOT
from training.loop.run_folder import HISTORY, WEIGHTS, read_history

_REFUSED = 2  # the exit code of `training.run` for data or options that it does not take
_LOG_LINES = 15
_PATIENCE_S = 300.0  # added to twice the given time before a training is killed


class TrainerFailed(RuntimeError):
    """A command that did not end as it should. The message holds the end of its log."""


@dataclass(frozen=True)
class Order:
    """One training to be done.

    Attributes:
        parts: The set's folders.
        kind: Kind of the set's labels.
        known: The benchmark's knowledge of the set.
        out: Empty folder for all results.
        minutes: Wall-clock time from the start of the command to its weights.
        seed: Seed of the training.
        cores: Number of threads for numeric libraries.
    """

    parts: Parts
    kind: Kind
    known: KnownSet
    out: Path
    minutes: float
    seed: int
    cores: int


@dataclass(frozen=True)
class Trained:
    """Facts about a finished training.

    Attributes:
        seconds: Wall-clock time of the training command.
        cpu_seconds: Time of all cores that the command used.
        steps: Steps of the optimizer.
        kept_step: Step whose weights were kept.
        threshold: Probability from which on a pixel is foreground.
        options: Options besides data, output, time and seed.
        versions: Versions of the peer's packages, or commit of its program.
    """

    seconds: float
    cpu_seconds: float
    steps: int
    kept_step: int
    threshold: float
    options: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)


class Trainer(Protocol):
    """A trainer as the benchmark uses it."""

    def train(self, order: Order) -> Trained:
        """Trains on the training part. Raises TrainerFailed."""
        ...

    def predict(self, order: Order, names: Sequence[str]) -> list[Found]:
        """Segments the named test images with the trained weights. Raises TrainerFailed."""
        ...


@dataclass(frozen=True)
class Ours:
    """This project's commands as a user types them: `training.run` and `model.predict`.

    `options`: further options of `training.run`. A comparison has none.
    """

    options: tuple[str, ...] = ()

    def train(self, order: Order) -> Trained:
        """Trains; adds `KnownSet.options` only if the command refuses the labels without them. Raises TrainerFailed."""
        options = self.options
        try:
            seconds, cpu_seconds = self._run(order, options)
        except _Refused:
            if not order.known.options:
                raise
            options += order.known.options
            seconds, cpu_seconds = self._run(order, options)
        description = load_weights(order.out / WEIGHTS).description
        steps = int(read_history(order.out / HISTORY)[-1]["step"])
        return Trained(seconds, cpu_seconds, steps, _kept_step(description, steps), description.threshold, options)

    def predict(self, order: Order, names: Sequence[str]) -> list[Found]:
        """Masks, probabilities and objects as `model.predict` writes them, with the stored threshold."""
        mask = self._outputs(order, names, "mask")
        if order.kind == "classes":
            return [Found(pixels.astype(np.uint8)) for pixels in mask]
        probability = self._outputs(order, names, "probability")
        ids = self._outputs(order, names, "instances") if order.kind == "instances" else [None] * len(names)
        return [
            Found((pixels > 0).astype(np.uint8), _to_float(p), None if i is None else i.astype(np.int32))
            for pixels, p, i in zip(mask, probability, ids, strict=True)
        ]

    def _run(self, order: Order, options: tuple[str, ...]) -> tuple[float, float]:
        how = ["--minutes", f"{order.minutes:g}", "--seed", str(order.seed), *options]
        command = ["training.run", "--data", str(order.parts.training), "--out", str(order.out), *how]
        return _call(command, sys.executable, order, "train", limit_s=_limit(order))

    def _outputs(self, order: Order, names: Sequence[str], output: str) -> list[Values]:
        folder = order.out / output
        how = ["--weights", str(order.out / WEIGHTS), "--output", output, "--out", str(folder)]
        _call(["model.predict", str(order.parts.test), *how], sys.executable, order, output)
        return [decode_image((folder / f"{name}{RESULT}.png").read_bytes()) for name in names]


@dataclass(frozen=True)
class Peer:
    """Another project's trainer: a script of `benchmarks.peers` in the peers' environment.

    Attributes:
        module: Name of the script's module in `benchmarks.peers`.
        python: Python of the peers' environment.
        source: Folder with the peer's program; None if the peer is an installed package.
        versions: Version of that program.
    """

    module: str
    python: Path
    source: Path | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def train(self, order: Order) -> Trained:
        """Runs the script's `train`."""
        until = time.time() + 60 * order.minutes
        how = ["--data", str(order.parts.peer_training), "--until", f"{until:.3f}", "--seed", str(order.seed)]
        command = self._command("train", order, order.out, *how)
        seconds, cpu_seconds = _call(command, str(self.python), order, "train", limit_s=_limit(order))
        record = json.loads((order.out / RECORD).read_text())
        steps, kept_step = record.pop("steps"), record.pop("kept_step")
        return Trained(seconds, cpu_seconds, steps, kept_step, threshold=0.5, versions=self.versions | record)

    def predict(self, order: Order, names: Sequence[str]) -> list[Found]:
        """Runs the script's `predict`. Objects are the connected regions of the mask."""
        folder = order.out / "predicted"
        how = ["--weights", str(order.out), "--images", str(order.parts.peer_test)]
        _call(self._command("predict", order, folder, *how), str(self.python), order, "predict")
        pictures = [decode_image((folder / f"{name}.png").read_bytes()) for name in names]
        if order.kind == "classes":
            return [Found(pixels.astype(np.uint8)) for pixels in pictures]
        return [_by_threshold(_to_float(pixels), objects=order.kind == "instances") for pixels in pictures]

    def _command(self, command: str, order: Order, out: Path, *how: str) -> list[str]:
        source = ["--source", str(self.source)] if self.source else []
        common = ["--out", str(out), "--classes", str(order.parts.classes)]
        return [f"benchmarks.peers.{self.module}", command, *how, *common, *source]


class _Refused(TrainerFailed):
    """`training.run` does not take the data or the options."""


def _kept_step(description: Description, steps: int) -> int:
    """The step that the weights file names, or the last one."""
    reached = description.provenance.get("reached")
    step = reached.get("step") if isinstance(reached, dict) else None
    return int(step) if isinstance(step, int) else steps


def _by_threshold(probabilities: NDArray[np.float32], *, objects: bool) -> Found:
    """The mask at 0.5 of probabilities H x W, with its connected regions as objects if wanted."""
    mask = (probabilities >= 0.5).astype(np.uint8)
    return Found(mask, probabilities, find_regions(mask) if objects else None)


def _to_float(pixels: Values) -> NDArray[np.float32]:
    """16-bit probabilities, 65535 = 1.0 -> float32 in 0..1."""
    probabilities: NDArray[np.float32] = pixels.astype(np.float32) / np.float32(65535)
    return probabilities


def _limit(order: Order) -> float:
    return 2 * 60 * order.minutes + _PATIENCE_S


def _call(
    command: Sequence[str], python: str, order: Order, name: str, limit_s: float | None = None
) -> tuple[float, float]:
    """Runs a module of this project as a command.

    Args:
        command: Name of the module and its arguments.
        python: Python to run it with.
        order: The training that the command is for. `order.out/NAME.log` gets what it prints.
        name: Name of the log.
        limit_s: Seconds after which the command is killed; None for no limit.

    Returns:
        Wall-clock seconds, and CPU seconds of the command and its processes.

    Raises:
        TrainerFailed: The exit code is not 0, or the time limit has passed.
    """
    log = order.out.with_name(f"{order.out.name}-{name}.log")
    # the comparison is of CPUs, and the graphics card would be used only by some
    environment = os.environ | {"OMP_NUM_THREADS": str(order.cores), "CUDA_VISIBLE_DEVICES": ""}
    used, started = _cpu_seconds_of_children(), time.monotonic()
    with log.open("wb") as file:
        try:
            status: int | None = subprocess.run(
                [python, "-m", *command],
                cwd=ROOT,
                env=environment,
                stdout=file,
                stderr=file,
                timeout=limit_s,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = None
    if status != 0:
        ended = f"not finished after {limit_s:.0f} s" if status is None else f"exit code {status}"
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        kind = _Refused if status == _REFUSED else TrainerFailed
        raise kind("\n  ".join([f"{' '.join(command)}: {ended}", *lines]))
    return time.monotonic() - started, _cpu_seconds_of_children() - used


def _cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
