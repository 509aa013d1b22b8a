"""`python -m benchmarks.recipes`: the value of each choice of the recipe, one change at a time, by k-fold validation.

The images are divided into contiguous blocks, and each block is held out once. So every score is of images that were
not trained on. Each training is one line of JSON in --out, and a training that has a line is not repeated: a stopped
command resumes. With another --seed, it adds trainings, and the table shows how far the seeds differ. The tables are in
training/README.md and DECISIONS.md.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from model.images.encoding import encode_png, to_probability_image
from model.segmenter import Segmenter
from model.weights_file import Description
from training.data.folder import Sample, load_samples
from training.loop.machine import Machine
from training.loop.memory import keep_freed
from training.loop.run_folder import RunFolder
from training.loop.trainer import Trainer
from training.recipe import DEFAULT, Recipe
from training.scoring.distortions import DISTORTIONS
from training.scoring.evaluation import Evaluation
from training.scoring.measures import Measures
from training.scoring.pixel_scores import Probabilities
from training.scoring.prediction_scoring import evaluate
from training.scoring.rand import THRESHOLDS

Change = dict[str, Any]

# Dotted names of the default recipe's fields and their other values.
CHANGES: dict[str, Change] = {
    "the default recipe": {},
    "no zoom": {"augmentation.scale": 1},
    "no elastic": {"augmentation.elastic": 0},
    "elastic twice as strong": {"augmentation.elastic": 8},
    "no blur, gamma, noise, contrast": dict.fromkeys(
        (f"augmentation.{name}" for name in ("blur", "gamma", "noise", "brightness", "contrast")), 0
    ),
    "no blotches": {"augmentation.blotches": 0},
    "border weight 0": {"border_weight": 0},
    "border weight 10": {"border_weight": 10},
    "no border weight, no blotches, Dice of membranes only": {
        "border_weight": 0,
        "augmentation.blotches": 0,
        "loss": "bce_background_dice",
    },
    "only cross-entropy": {"loss": "bce"},
    "Dice of membranes only": {"loss": "bce_background_dice"},
    "no averaging of weights": {"ema_decay": None},
    "constant rate of 1e-3": {"schedule": "constant", "learning_rate": 1e-3},
    "highest rate 1e-3": {"learning_rate": 1e-3},
    "highest rate 4e-3": {"learning_rate": 4e-3},
    "crops of 192, batch 11": {"crop": 192, "batch": 11},
    "crops of 384, batch 3": {"crop": 384, "batch": 3},
    "no z-score": {"preprocessing.normalisation": "none"},
    "transposed upsampling": {"net.upsampling": "transposed"},
    "aligned corners": {"net.upsampling": "bilinear_aligned"},
    "depth 3": {"net.depth": 3},
    "depth 5": {"net.depth": 5},
    "twice the channels at the bottom": {"net.bottleneck": "double"},
    "half resolution": {"net.downsampling": 2},
    "half resolution, crops of 384": {"net.downsampling": 2, "crop": 384},
    "half resolution, depth 3": {"net.downsampling": 2, "net.depth": 3},
    "a quarter of the resolution": {"net.downsampling": 4},
}


@dataclass(frozen=True)
class Trial:
    """One training on all blocks but one. `keep`: a folder for the weights and the held-out probabilities."""

    change: str
    fold: int
    seed: int
    base: Recipe
    data: Path
    folds: int
    threads: int
    distort: bool
    keep: Path | None


def changed(base: Recipe, change: Change) -> Recipe:
    """The recipe with other values, and scored at its end only."""
    values = base.model_dump()
    for name, value in change.items():
        *path, last = name.split(".")
        place = values
        for part in path:
            place = place[part]
        place[last] = value
    values["check_every"] = values["steps"]
    return Recipe.model_validate(values)


def measure(trial: Trial) -> dict[str, Any]:
    """Trains, then scores the held-out block at all thresholds: unchanged, and every second image distorted."""
    torch.set_num_threads(trial.threads)
    cv2.setNumThreads(1)
    keep_freed()
    started = time.monotonic()
    recipe = changed(trial.base, CHANGES[trial.change] | {"select": "v_rand"})
    samples = load_samples(trial.data)
    block = set(np.array_split(np.arange(len(samples)), trial.folds)[trial.fold].tolist())
    held_out = [sample for index, sample in enumerate(samples) if index in block]
    training = [sample for index, sample in enumerate(samples) if index not in block]
    segmenter = _train(recipe, training, held_out, trial)
    trained = time.monotonic()

    def keep(sample: Sample, probabilities: Probabilities) -> None:
        if trial.keep:
            (trial.keep / trial.change / f"{sample.name.replace('/', '_')}.png").write_bytes(
                encode_png(to_probability_image(probabilities))
            )

    measures = Measures("v_rand", segments=True, matches=False)
    scores = {"as they are": _by_threshold(evaluate(segmenter, held_out, measures, keep))}
    for distortion, change in DISTORTIONS.items() if trial.distort else ():
        distorted = [change(sample) for sample in held_out[::2]]
        scores[distortion] = _by_threshold(evaluate(segmenter, distorted, measures))
    return {
        "change": trial.change,
        "fold": trial.fold,
        "folds": trial.folds,
        "seed": trial.seed,
        "width": recipe.net.width,
        "steps": recipe.steps,
        "seconds": round(trained - started),
        "scores": scores,
    }


def _train(recipe: Recipe, training: list[Sample], held_out: list[Sample], trial: Trial) -> Segmenter:
    description = Description(
        name="trial", architecture=recipe.net, preprocessing=recipe.preprocessing, threshold=recipe.threshold
    )
    with tempfile.TemporaryDirectory() as folder:
        run, machine = RunFolder(Path(folder)).begin(), Machine(torch.device("cpu"))
        seed = trial.seed * trial.folds + trial.fold
        Trainer(recipe, description, training, held_out, run, machine, seed=seed).run()
        if trial.keep:
            (trial.keep / trial.change).mkdir(parents=True, exist_ok=True)
            shutil.copy(run.weights, trial.keep / trial.change / f"without-block-{trial.fold + 1}.safetensors")
        return Segmenter.load(run.weights, device="cpu")


def _by_threshold(evaluation: Evaluation) -> dict[str, list[float]]:
    return {
        name: [round(evaluation.scores(threshold)[name], 5) for threshold in THRESHOLDS] for name in ("v_rand", "dice")
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a change, in the order of CHANGES, a column a block; the threshold is the best over its row."""
    folds = sorted({result["fold"] for result in results})
    blocks = " | ".join(f"block {fold + 1}" for fold in folds)
    columns = f"| change | width, steps | {blocks} | mean (seeds) | threshold | Dice | distorted |"
    rows = [columns, "|---" * (len(folds) + 6) + "|"]
    for name in CHANGES:
        found = [result for result in results if result["change"] == name]
        for width, steps in sorted({(result["width"], result["steps"]) for result in found}):
            rows.append(
                _row(name, width, steps, [r for r in found if (r["width"], r["steps"]) == (width, steps)], folds)
            )
    return "\n".join(rows)


def _row(name: str, width: int, steps: int, found: list[dict[str, Any]], folds: list[int]) -> str:
    """The means over the seeds; `mean (seeds)` has those of the seeds whose blocks were all measured."""
    clean = [(result["seed"], result["fold"], result["scores"]["as they are"]) for result in found]
    best = int(np.mean([scores["v_rand"] for _, _, scores in clean], axis=0).argmax())
    v_rand = {(seed, fold): scores["v_rand"][best] for seed, fold, scores in clean}
    seeds = sorted({seed for seed, _ in v_rand})
    by_fold = [[v_rand[seed, fold] for seed in seeds if (seed, fold) in v_rand] for fold in folds]
    blocks = [f"{np.mean(values):.4f}" if values else "" for values in by_fold]
    whole = [np.mean([v_rand[seed, f] for f in folds]) for seed in seeds if all((seed, f) in v_rand for f in folds)]
    mean = f"{np.mean(whole):.4f} ({', '.join(f'{value:.4f}' for value in whole)})" if whole else ""
    dice = np.mean([scores["dice"][best] for _, _, scores in clean])
    distorted = [
        scores["v_rand"][best] for result in found for kind, scores in result["scores"].items() if kind in DISTORTIONS
    ]
    robust = f"{np.mean(distorted):.4f}" if distorted else ""
    cells = [name, f"{width}, {steps}", *blocks, mean, f"{THRESHOLDS[best]:g}", f"{dice:.4f}", robust]
    return f"| {' | '.join(cells)} |"


def _todo(arguments: argparse.Namespace, done: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    there = {tuple(result[key] for key in ("change", "fold", "folds", "seed", "width", "steps")) for result in done}
    for name, fold in product(arguments.only, arguments.fold or range(arguments.folds)):
        if (name, fold, arguments.folds, arguments.seed, arguments.width, arguments.steps) not in there:
            yield name, fold


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/train"))
    parser.add_argument("--out", type=Path, required=True, help="file of results, one line of JSON a training")
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES), metavar="CHANGE")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--fold", type=int, nargs="+", help="only these folds (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--width", type=int, default=DEFAULT.net.width)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at a time, which share the cores")
    parser.add_argument("--undistorted", action="store_true", help="do not score distorted images")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep weights and the probabilities of held-out images"
    )
    arguments = parser.parse_args()
    base = changed(DEFAULT, {"net.width": arguments.width, "steps": arguments.steps})
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    how = {
        "seed": arguments.seed,
        "base": base,
        "data": arguments.data,
        "folds": arguments.folds,
        "threads": threads,
        "keep": arguments.keep,
    }
    failed = False
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        trials = (Trial(name, fold, distort=not arguments.undistorted, **how) for name, fold in _todo(arguments, done))
        futures = {pool.submit(measure, trial): trial for trial in trials}
        for future in as_completed(futures):
            if error := future.exception():
                failed, trial = True, futures[future]
                print(f"{trial.change}, block {trial.fold + 1}: {error}", file=sys.stderr)
                continue
            result = future.result()
            done.append(result)
            with arguments.out.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(
                result["change"], result["fold"], max(result["scores"]["as they are"]["v_rand"]), result["seconds"], "s"
            )
    print(table(done))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
