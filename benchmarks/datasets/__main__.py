"""`python -m benchmarks.datasets --out FILE`: this training job against other public trainers, on many data sets.

For each set, trainer and seed:

1. The set is split by sequence into training and test images, by the rules in `sets.py`.
2. The trainer gets only the training images, and `--minutes` of wall-clock time from the start of its command to its
   weights. All trainers run on the CPU, one at a time, on the same `--cores`. Ours runs as `python -m training.run`
   with `--data`, `--out`, `--minutes` and `--seed`.
3. The weights segment the test images. Ours do so in `python -m model.predict` with the stored threshold, as in the
   service.
4. The same code scores all masks.

Trainers: `ours`; `monai`, the recipe of MONAI's 2D segmentation tutorial; `monai-256`, the same with larger crops;
`pytorch-unet`, Pytorch-UNet with its defaults.
The peers run in a virtual environment of their own, which the command creates.

Each training is one line of JSON in `--out`. A training that has a line there is not repeated, so an interrupted
command continues where it was. The printed Markdown table averages over the seeds.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.datasets.environment import (
    EnvironmentFailed,
    cache_folder,
    commit_of,
    peer_python,
    pytorch_unet,
)
from benchmarks.datasets.parts import write_parts
from benchmarks.datasets.results import Result, ResultsFile, Trial, table
from benchmarks.datasets.scoring import all_scores, reachable
from benchmarks.datasets.sets import ImageSet, SetError, find_sets
from benchmarks.datasets.trainers import Order, Ours, Peer, Trainer, TrainerFailed
from benchmarks.datasets.truth import read_truths, task_of
from model.engines.pytorch import chip
from tests.support.servers import ROOT

MONAI = {"monai": "monai_tutorial", "monai-256": "monai_large_crops"}
TRAINERS = ("ours", *MONAI, "pytorch-unet")
SHARED = ROOT.parent / "shared"


@dataclass(frozen=True)
class Options:
    """The command line.

    Attributes:
        data: Folders that are sets, or have sets in them.
        out: File of results.
        only: Names of the sets to use; empty for all.
        seeds: Seeds of each trainer.
        minutes: Wall-clock time of each training.
        peers: Names of the trainers.
        images: Number of training images to use, the first ones; 0 for all.
        cores: Number of cores that each trainer has.
        venv: The peers' virtual environment.
        pytorch_unet: Folder of Pytorch-UNet's program.
        keep: Folder for weights, results and logs; None to delete them.
    """

    data: list[Path]
    out: Path
    only: list[str]
    seeds: list[int]
    minutes: float
    peers: list[str]
    images: int
    cores: int
    venv: Path
    pytorch_unet: Path
    keep: Path | None


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code: 0, 1 if a training failed, 2 for bad options or data."""
    options = _parse(argv)
    try:
        sets = _chosen(find_sets(options.data), options.only)
        trainers = {name: _trainer(name, options) for name in options.peers}
    except (SetError, EnvironmentFailed) as error:
        print(f"datasets: {error}", file=sys.stderr)
        return 2
    _use_cores(options.cores)
    results = ResultsFile(options.out)
    complete = run_trials(_trials(sets, options), {each.name: each for each in sets}, trainers, results, options)
    print(table(results.read()))
    return 0 if complete else 1


def run_trials(
    trials: Iterable[Trial],
    sets: Mapping[str, ImageSet],
    trainers: Mapping[str, Trainer],
    results: ResultsFile,
    options: Options,
) -> bool:
    """Runs the trials that have no result yet and adds their results; returns False if a trainer failed."""
    done = {result.trial for result in results.read()}
    complete = True
    for trial in trials:
        if trial in done:
            continue
        _say(f"{trial.set}, {trial.trainer}, seed {trial.seed}: {trial.minutes:g} min")
        try:
            result = measure(trial, sets[trial.set].limited(trial.images), trainers[trial.trainer], options)
        except TrainerFailed as error:
            complete = False
            _say(f"failed: {error}")
            continue
        results.add(result)
        _say(", ".join(f"{name} {value:.3f}" for name, value in result.scores.items()))
    return complete


def measure(trial: Trial, images: ImageSet, trainer: Trainer, options: Options) -> Result:
    """Trains one trainer on one set and scores it on the test images. Raises TrainerFailed."""
    task = task_of(images)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="datasets-") as folder:
        (out := Path(folder, "out", "run")).mkdir(parents=True)
        parts = write_parts(Path(folder), images, task)
        order = Order(parts, task.kind, images.known, out, trial.minutes, trial.seed, options.cores)
        try:
            trained = trainer.train(order)
            found = trainer.predict(order, [pair.name for pair in images.test])
        finally:
            if options.keep:
                name = f"{trial.set}-{trial.trainer}-{trial.minutes:g}min-seed{trial.seed}"
                shutil.copytree(out.parent, options.keep / name, dirs_exist_ok=True)
    truths = read_truths(images, images.test, task)
    scores = all_scores(task, truths, found, trained.threshold)
    return Result(
        trial,
        task.kind,
        scores,
        reachable(task, truths, found, scores),
        asdict(trained) | {"training_images": len(images.training), "test_images": len(images.test)},
        _machine(options.cores) | {"load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2)},
    )


def _trials(sets: Iterable[ImageSet], options: Options) -> list[Trial]:
    """Seed by seed, so that an interrupted command has compared all trainers on all sets with the first seeds."""
    return [
        Trial(images.name, name, seed, options.minutes, options.images)
        for seed in options.seeds
        for images in sets
        for name in options.peers
    ]


def _chosen(sets: list[ImageSet], only: list[str]) -> list[ImageSet]:
    names = [images.name for images in sets]
    if unknown := [name for name in only if name not in names]:
        raise SetError(f"--only {' '.join(unknown)}: no such set; there are {', '.join(names)}")
    return [images for images in sets if not only or images.name in only]


def _trainer(name: str, options: Options) -> Trainer:
    """Raises EnvironmentFailed."""
    if name == "ours":
        return Ours()
    python = peer_python(options.venv)
    if name in MONAI:
        return Peer(MONAI[name], python)
    source = pytorch_unet(options.pytorch_unet)
    return Peer("pytorch_unet", python, source, {"pytorch-unet": commit_of(source)})


@cache
def _machine(cores: int) -> dict[str, Any]:
    return {
        "chip": chip(torch.device("cpu")),
        "cores": cores,
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "commit": commit_of(ROOT),
    }


def _use_cores(count: int) -> None:
    """Limits this process and the trainers it starts to that many cores, where the system allows."""
    if hasattr(os, "sched_setaffinity"):  # not on macOS and Windows
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _say(line: str) -> None:
    print(f"datasets: {line}", file=sys.stderr, flush=True)


def _parse(argv: list[str] | None) -> Options:
    cores, folder = min(2, _available_cores()), cache_folder()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.datasets", description="Compare this training job with other trainers on data sets."
    )
    add = parser.add_argument
    default_data = [SHARED / "datasets", SHARED / "isbi2012" / "train"]
    add("--data", type=Path, nargs="+", default=default_data, metavar="DIR", help="sets, or folders of sets")
    add("--out", type=Path, required=True, metavar="FILE", help="results, one line of JSON a training")
    add("--only", nargs="+", default=[], metavar="SET", help="names of the sets to use (default: all)")
    add("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    add("--minutes", type=float, default=5.0, help="wall-clock time of each training (default: 5)")
    add("--peers", nargs="+", choices=TRAINERS, default=list(TRAINERS), help="trainers (default: all)")
    add("--images", type=int, default=0, metavar="N", help="train on the first N training images (default: all)")
    add("--cores", type=int, default=cores, help=f"cores of each trainer (default: {cores})")
    add("--venv", type=Path, default=folder / "peers", help="the peers' environment (default: %(default)s)")
    add(
        "--pytorch-unet",
        type=Path,
        default=folder / "Pytorch-UNet",
        metavar="DIR",
        help="Pytorch-UNet's repository, cloned there if it is missing (default: %(default)s)",
    )
    add("--keep", type=Path, metavar="DIR", help="keep weights, results and logs")
    options = Options(**vars(parser.parse_args(argv)))
    if options.minutes <= 0:
        parser.error(f"--minutes {options.minutes:g}: a positive number is expected")
    if not 1 <= options.cores <= _available_cores():
        parser.error(f"--cores {options.cores}: 1 to {_available_cores()} are available")
    if options.images < 0:
        parser.error(f"--images {options.images}: a positive number, or 0 for all, is expected")
    return options


if __name__ == "__main__":
    sys.exit(main())
