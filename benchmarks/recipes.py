"""`python -m benchmarks.recipes`: what each choice of the recipe gives, one change at a time, by k-fold validation.

The images are cut into contiguous blocks; each is held out once, so every score is of images that were not trained
on. Each training is one line of JSON in --out; what is there already is not trained again, so it can be stopped and
gone on with. The table is in training/README.md.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from model.segmenter import Segmenter
from model.weights_file import Description
from training.data import load_samples
from training.distortions import DISTORTIONS
from training.evaluate import Evaluation, evaluate
from training.recipe import DEFAULT, Recipe
from training.run_folder import RunFolder
from training.scores import THRESHOLDS
from training.trainer import Trainer

Change = dict[str, Any]

# Dotted names of the recipe's fields and their other values.
CHANGES: dict[str, Change] = {
    "base": {},
    "scale 1.6": {"augmentation.scale": 1.6},
    "stronger noise, gamma, blur": {"augmentation.noise": 0.8, "augmentation.gamma": 0.8, "augmentation.blur": 2.5},
    "no photometric": {f"augmentation.{name}": 0 for name in ("noise", "gamma", "blur", "brightness", "contrast")},
    "no elastic": {"augmentation.elastic": 0},
    "elastic x 2": {"augmentation.elastic": 6},
    "no zoom": {"augmentation.scale": 1},
    "cross-entropy alone": {"loss": "bce"},
    "Dice of membranes only": {"loss": "bce_background_dice"},
    "border weight 5": {"border_weight": 5},
    "no averaging of weights": {"ema_decay": None},
    "constant rate": {"schedule": "constant", "learning_rate": 1e-3},
    "rate 1e-3": {"learning_rate": 1e-3},
    "rate 4e-3": {"learning_rate": 4e-3},
    "crop 384, batch 2": {"crop": 384, "batch": 2},
    "crop 192, batch 7": {"crop": 192, "batch": 7},
    "no z-score": {"preprocessing.normalisation": "none"},
    "transposed upsampling": {"net.upsampling": "transposed"},
    "aligned corners": {"net.upsampling": "bilinear_aligned"},
    "depth 3": {"net.depth": 3},
    "depth 5": {"net.depth": 5},
    "twice as long": {"steps": 2},
    "width 16": {"net.width": 16},
    "width 24": {"net.width": 24},
    "width 48": {"net.width": 48},
    "width 64": {"net.width": 64},
}


def changed(base: Recipe, change: Change) -> Recipe:
    """The recipe with other values; a `steps` is a factor."""
    values = base.model_dump()
    for name, value in change.items():
        *path, last = name.split(".")
        place = values
        for part in path:
            place = place[part]
        place[last] = value * base.steps if name == "steps" else value
    values["check_every"] = values["steps"]
    return Recipe.model_validate(values)


def measure(data: Path, base: Recipe, name: str, fold: int, folds: int, threads: int, distort: bool) -> dict[str, Any]:
    """One training on all blocks but one; scores by threshold on that block, as it is and distorted."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    started = time.monotonic()
    recipe = changed(base, CHANGES[name])
    samples = load_samples(data)
    blocks = [list(block) for block in np.array_split(np.arange(len(samples)), folds)]
    held_out = [samples[index] for index in blocks[fold]]
    training = [sample for index, sample in enumerate(samples) if index not in blocks[fold]]
    with tempfile.TemporaryDirectory() as folder:
        description = Description(
            name="trial", architecture=recipe.net, preprocessing=recipe.preprocessing, threshold=recipe.threshold
        )
        run = RunFolder(Path(folder), resume=False)
        device = torch.device("cpu")
        Trainer(recipe, description, training, held_out, run, device=device, seed=fold, workers=0).run()
        segmenter = Segmenter.load(run.weights, device="cpu")
    trained = time.monotonic()
    scores = {"as they are": _by_threshold(evaluate(segmenter, held_out))}
    for distortion, change in DISTORTIONS.items() if distort else ():
        scores[distortion] = _by_threshold(evaluate(segmenter, [change(sample) for sample in held_out[::2]]))
    return {
        "change": name,
        "fold": fold,
        "width": recipe.net.width,
        "steps": recipe.steps,
        "seconds": round(trained - started),
        "scores": scores,
    }


def _by_threshold(evaluation: Evaluation) -> dict[str, list[float]]:
    return {
        name: [round(getattr(evaluation.mean(threshold), name), 5) for threshold in THRESHOLDS]
        for name in ("v_rand", "dice")
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a change, in the order of CHANGES; the threshold is the best one over all folds."""
    rows = [
        "| change | V_rand | +- | threshold | Dice | distorted: mean | worst | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in CHANGES:
        found = [result for result in results if result["change"] == name]
        if found:
            rows.append(_row(name, found))
    return "\n".join(rows)


def _row(name: str, found: list[dict[str, Any]]) -> str:
    clean = np.array([result["scores"]["as they are"]["v_rand"] for result in found])
    best = int(clean.mean(axis=0).argmax())
    dice = np.mean([result["scores"]["as they are"]["dice"][best] for result in found])
    distorted = {
        kind: float(np.mean([result["scores"][kind]["v_rand"][best] for result in found]))
        for kind in DISTORTIONS
        if all(kind in result["scores"] for result in found)
    }
    seconds = np.mean([result["seconds"] for result in found])
    v_rand = f"{clean[:, best].mean():.4f} | {clean[:, best].std():.4f} | {THRESHOLDS[best]:g}"
    robust = " | "
    if distorted:
        worst = min(distorted, key=lambda kind: distorted[kind])
        robust = f"{np.mean(list(distorted.values())):.4f} | {distorted[worst]:.3f} {worst}"
    return f"| {name} ({len(found)}) | {v_rand} | {dice:.4f} | {robust} | {seconds:.0f} |"


def _todo(names: list[str], folds: list[int], done: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    there = {(result["change"], result["fold"]) for result in done}
    for name in names:
        yield from ((name, fold) for fold in folds if (name, fold) not in there)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/train"))
    parser.add_argument("--out", type=Path, required=True, help="file of results, one line of JSON a training")
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES), metavar="CHANGE")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--fold", type=int, nargs="+", help="these alone (default: all)")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--width", type=int, default=DEFAULT.net.width)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at a time, one thread each")
    parser.add_argument("--undistorted", action="store_true", help="score the held-out images as they are alone")
    arguments = parser.parse_args()
    base = changed(DEFAULT, {"net.width": arguments.width}).model_copy(update={"steps": arguments.steps})
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    todo = list(_todo(arguments.only, arguments.fold or list(range(arguments.folds)), done))
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        futures = [
            pool.submit(
                measure, arguments.data, base, name, fold, arguments.folds, threads, distort=not arguments.undistorted
            )
            for name, fold in todo
        ]
        for future in as_completed(futures):
            result = future.result()
            done.append(result)
            with arguments.out.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(
                result["change"], result["fold"], max(result["scores"]["as they are"]["v_rand"]), result["seconds"], "s"
            )
    print(table(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
