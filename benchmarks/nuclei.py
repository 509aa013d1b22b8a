"""`python -m benchmarks.nuclei --data DIR --keep DIR`: scores the recipe of the bundled nuclei net on unseen images.

1. `training.run --folds K` trains K nets that each lack a K-th of the images, then a net on all images.
2. Each of the K nets gets the threshold, seed depth and minimum area that the other folds chose. So no object
   decision depends on the images that are scored.
3. The service serves each net, in fp32 and in int8, and returns the objects of each image that the net has not seen.
4. The objects of all folds are scored together: fluorescence and stained images separately.

`--keep` holds `training/`, the folder of `training.run`, `nets/` with the K nets, and `scores.json`.
A finished training is not repeated, and a stopped one resumes.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from app.client import Client
from benchmarks.datasets.scoring import Found, all_scores
from benchmarks.datasets.sets import ImageSet, Pair, SetError, find_sets
from benchmarks.datasets.truth import Truth, read_truths, task_of
from model.images.decoding import decode_image
from model.preprocessing import FULL_SCALE, Values
from model.weights_file import Description, load_weights, read_is_unfinished, save_weights
from tests.support.measuring import HOST
from tests.support.servers import ROOT, ServerError, service
from training.loop.run_folder import FOLDS, WEIGHTS, RunFolder

Kind = Literal["fluorescence", "stained"]
KINDS: tuple[Kind, ...] = ("fluorescence", "stained")
PRECISIONS = ("fp32", "int8")
RUN, NETS = "training", "nets"

TRAINING = ("--label-format", "instances", "--labels", "background", "nucleus", "--name", "nuclei")


@dataclass(frozen=True)
class Fold:
    """A net and the images that were held out of its training.

    Attributes:
        number: The number of the fold, from 1.
        weights: The net's weights file.
        seen: Images that the net was trained on.
        unseen: Images that were held out.
    """

    number: int
    weights: Path
    seen: tuple[Pair, ...]
    unseen: tuple[Pair, ...]


@dataclass(frozen=True, eq=False)
class Scored:
    """The objects that one net found in one image, with the label."""

    precision: str
    fold: int
    kind: Kind
    truth: Truth
    found: Found


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code: 0, 1 if a command or the service fails, 2 for bad data."""
    options = _parse(argv)
    try:
        images = find_sets([options.data])[0]
        train(options.data, options.keep, options.folds, ("--width", str(options.width), "--steps", str(options.steps)))
        folds = read_folds(options.keep, images)
        scored = [
            each for fold in folds for precision in options.precision for each in segment(fold, precision, images)
        ]
    except SetError as error:
        print(f"nuclei: {error}", file=sys.stderr)
        return 2
    except (subprocess.CalledProcessError, ServerError) as error:
        print(f"nuclei: {error}", file=sys.stderr)
        return 1
    rows = score_rows(scored, images)
    (options.keep / "scores.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    return 0


def train(data: Path, keep: Path, folds: int, length: Sequence[str]) -> None:
    """Trains the folds and the final net, unless they are finished. Raises CalledProcessError."""
    weights = keep / RUN / WEIGHTS
    if weights.exists() and not read_is_unfinished(weights):
        return
    _call("training.run", "--data", data, "--out", keep / RUN, "--folds", folds, "--resume", *length, *TRAINING)


def read_folds(keep: Path, images: ImageSet) -> list[Fold]:
    """Reads the trained folds, and writes each net with the object decisions of the other folds."""
    runs = [RunFolder(path) for path in sorted((keep / RUN / FOLDS).iterdir()) if path.is_dir()]
    descriptions = [load_weights(run.weights).description for run in runs]
    folds = []
    for number, run in enumerate(runs, start=1):
        weights, held_out = load_weights(run.weights), set(run.read_config()["validation_images"])
        others = descriptions[: number - 1] + descriptions[number:]
        path = keep / NETS / f"without-fold-{number}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_weights(path, weights.tensors, decided_by(others, weights.description))
        pairs = images.training + images.test
        unseen = tuple(pair for pair in pairs if pair.name in held_out)
        seen = tuple(pair for pair in pairs if pair.name not in held_out)
        folds.append(Fold(number, path, seen, unseen))
    return folds


def decided_by(others: Sequence[Description], description: Description) -> Description:
    """Returns a description with the medians of other threshold, seed depth and minimum area."""
    depths = [other.seed_depth for other in others if other.seed_depth is not None]
    update = {
        "threshold": median(other.threshold for other in others),
        "seed_depth": median(depths) if depths else None,
        "min_area": round(median(other.min_area for other in others)),
    }
    return description.model_copy(update=update)


def segment(fold: Fold, precision: str, images: ImageSet) -> list[Scored]:
    """Sends the unseen images to the service, which serves the fold's net. Raises ServerError, CalledProcessError."""
    weights = quantised(fold) if precision == "int8" else fold.weights
    truths = read_truths(images, fold.unseen, task_of(images))
    with (
        service(weights=weights, precision=precision) as server,
        Client(f"http://{HOST}:{server.port}") as client,
    ):
        return [
            Scored(precision, fold.number, kind_of(decode_image(pair.image.read_bytes())), truth, _find(client, pair))
            for pair, truth in zip(fold.unseen, truths, strict=True)
        ]


def _find(client: Client, pair: Pair) -> Found:
    ids = np.asarray(client.segment(pair.image, "instances"), np.int32)
    return Found((ids > 0).astype(np.uint8), ids=ids)


def quantised(fold: Fold) -> Path:
    """Quantises the fold's net on the images that it was trained on. Raises CalledProcessError."""
    path = fold.weights.with_name(f"{fold.weights.stem}-int8.xml")
    seen = fold.weights.with_name(f"{fold.weights.stem}-images")
    seen.mkdir(exist_ok=True)
    for pair in fold.seen:
        link = seen / pair.image.name
        link.unlink(missing_ok=True)
        link.symlink_to(pair.image.resolve())
    export = ("--to", "openvino", "--precision", "int8", "--calibrate", seen)
    _call("training.export", "--weights", fold.weights, "--out", path, *export)
    return path


def kind_of(pixels: Values) -> Kind:
    """Returns "fluorescence" for a grey image on a dark background, else "stained"; pixels H x W or H x W x C."""
    colours = pixels[:, :, :3] if pixels.ndim == 3 else pixels[:, :, None]
    is_grey = bool((colours == colours[:, :, :1]).all())
    is_dark = bool(np.median(colours) < FULL_SCALE[colours.dtype] / 2)
    return "fluorescence" if is_grey and is_dark else "stained"


def score_rows(scored: Sequence[Scored], images: ImageSet) -> list[dict[str, Any]]:
    """Scores each kind and precision, by fold and together. Rows without images are left out."""
    folds: list[int | str] = [*sorted({each.fold for each in scored}), "all"]
    rows = []
    for precision in sorted({each.precision for each in scored}):
        for kind in KINDS:
            for fold in folds:
                chosen = [
                    each
                    for each in scored
                    if (each.precision, each.kind) == (precision, kind) and fold in (each.fold, "all")
                ]
                if chosen:
                    rows.append({"precision": precision, "images of": kind, "fold": fold, **_scores(chosen, images)})
    return rows


def _scores(scored: Sequence[Scored], images: ImageSet) -> dict[str, float]:
    truths, found = [each.truth for each in scored], [each.found for each in scored]
    objects = sum(len(np.unique(truth.ids[truth.ids > 0])) for truth in truths if truth.ids is not None)
    return {"images": len(scored), "nuclei": objects, **all_scores(task_of(images), truths, found, threshold=0.5)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Formats the rows as a Markdown table."""
    heads = ("precision", "images of", "fold", "images", "nuclei", "Dice", "F1 at IoU 0.5", "mean F1")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        facts = [str(row[name]) for name in heads[:5]]
        scores = [f"{row[name]:.4f}" for name in ("dice", "f1", "mean_f1")]
        lines.append(f"| {' | '.join([*facts, *scores])} |")
    return "\n".join(lines)


def _call(module: str, *options: object) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, options)], cwd=ROOT, check=True)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nuclei", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with image/ and label/ of object ids")
    parser.add_argument("--keep", type=Path, required=True, help="folder for trainings, nets and scores")
    parser.add_argument("--folds", type=int, default=3, help="default: 3")
    parser.add_argument("--width", type=int, default=16, help="channels of the net's first level (default: 16)")
    parser.add_argument("--steps", type=int, default=3000, help="of each training (default: 3000)")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="default: both")
    options = parser.parse_args(argv)
    options.data, options.keep = options.data.resolve(), options.keep.resolve()
    return options


if __name__ == "__main__":
    sys.exit(main())
