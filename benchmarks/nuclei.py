"""`python -m benchmarks.nuclei --data DIR --keep DIR`: trains the nuclei net, and scores its recipe on unseen images.

1. The fluorescence images are chosen: grey, on a dark background. Stained images are left out of all trainings.
2. `training.run --folds K` trains K nets that each lack a K-th of the images, then the bundled net on all of them.
3. Each of the K nets gets the threshold, seed depth and minimum area that the other folds chose. So no object
   decision depends on the images that are scored.
4. The service serves each net, in fp32 and in int8, and returns the objects of the images that the net has not seen.
   Each net also gets a K-th of the stained images.
5. The objects of all folds are scored together: fluorescence and stained images separately.

`--keep` holds `fluorescence/` (links to the chosen images), `training/` (the folder of `training.run`), `nets/` (the K
nets in both precisions) and `scores.json`. A finished training is not repeated, and a stopped one resumes.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal

import numpy as np

from app.client import Client
from benchmarks.datasets.scoring import Found, all_scores, object_scores
from benchmarks.datasets.sets import IMAGES, LABELS, ImageSet, Pair, SetError, find_sets
from benchmarks.datasets.truth import Truth, read_truths, task_of
from model.images.decoding import decode_image
from model.inputs.preprocessing import FULL_SCALE, Values
from model.weights_file import Description, load_weights, read_is_unfinished, save_weights
from tests.support.measuring import HOST
from tests.support.servers import ROOT, ServerError, service
from training.loop.run_folder import FOLDS, WEIGHTS, RunFolder

Kind = Literal["fluorescence", "stained"]
KINDS: tuple[Kind, ...] = ("fluorescence", "stained")
PRECISIONS = ("fp32", "int8")
FLUORESCENCE, RUN, NETS = "fluorescence", "training", "nets"

TRAINING = ("--label-format", "instances", "--labels", "background", "nucleus", "--name", "nuclei")


@dataclass(frozen=True)
class Fold:
    """A net and the images that it has not seen.

    Attributes:
        number: From 1.
        weights: The net's weights file.
        seen: Training images.
        unseen: Held-out fluorescence images, and some of the stained images.
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
        rows = score_rows(_measure(images, options), images)
    except SetError as error:
        print(f"nuclei: {error}", file=sys.stderr)
        return 2
    except (subprocess.CalledProcessError, ServerError) as error:
        print(f"nuclei: {error}", file=sys.stderr)
        return 1
    (options.keep / "scores.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    return 0


def _measure(images: ImageSet, options: argparse.Namespace) -> list[Scored]:
    """Trains what is not trained yet, and segments the unseen images. Raises CalledProcessError, ServerError."""
    kinds = {pair: kind_of(decode_image(pair.image.read_bytes())) for pair in (*images.training, *images.test)}
    folder = options.keep / FLUORESCENCE
    for pair, kind in kinds.items():
        if kind == "fluorescence":
            _link(pair.image, folder / IMAGES)
            _link(pair.label, folder / LABELS)
    train(folder, options.keep / RUN, options)
    folds = read_folds(options.keep, kinds)
    return [each for fold in folds for precision in options.precision for each in segment(fold, precision, images)]


def train(data: Path, out: Path, options: argparse.Namespace) -> None:
    """Trains the folds and the final net, unless they are finished. Raises CalledProcessError."""
    weights = out / WEIGHTS
    if weights.exists() and not read_is_unfinished(weights):
        return
    length = ("--folds", options.folds, "--width", options.width, "--steps", options.steps)
    _call("training.run", "--data", data, "--out", out, "--resume", *length, *TRAINING)


def read_folds(keep: Path, kinds: Mapping[Pair, Kind]) -> list[Fold]:
    """Reads the trained folds, and writes each net with the object decisions of the other folds."""
    runs = [RunFolder(path) for path in sorted((keep / RUN / FOLDS).iterdir()) if path.is_dir()]
    trained = [load_weights(run.weights) for run in runs]
    stained = [pair for pair, kind in kinds.items() if kind == "stained"]
    folds = []
    for index, (run, weights) in enumerate(zip(runs, trained, strict=True)):
        path = keep / NETS / f"without-fold-{index + 1}.safetensors"
        path.parent.mkdir(exist_ok=True)
        others = [other.description for other in trained if other is not weights]
        save_weights(path, weights.tensors, decided_by(others, weights.description))
        held_out = set(run.read_config()["validation_images"])
        bright = [pair for pair, kind in kinds.items() if kind == "fluorescence"]
        seen = tuple(pair for pair in bright if pair.name not in held_out)
        unseen = [pair for pair in bright if pair.name in held_out] + stained[index :: len(runs)]
        folds.append(Fold(index + 1, path, seen, tuple(unseen)))
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
    for pair in fold.seen:
        _link(pair.image, seen)
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
    """Scores each kind and precision, by fold and together. Rows without images are left out.

    All objects of a row count alike in "f1", and all images in "f1_per_image".
    """
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
    per_image = [object_scores([truth], [result])["f1"] for truth, result in zip(truths, found, strict=True)]
    return {
        "images": len(scored),
        "nuclei": objects,
        **all_scores(task_of(images), truths, found, threshold=0.5),
        "f1_per_image": mean(per_image),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Formats the rows as a Markdown table."""
    heads = (
        "precision",
        "images of",
        "fold",
        "images",
        "nuclei",
        "Dice",
        "F1 at IoU 0.5",
        "the same, per image",
        "mean F1",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        facts = [str(row[name]) for name in heads[:5]]
        scores = [f"{row[name]:.4f}" for name in ("dice", "f1", "f1_per_image", "mean_f1")]
        lines.append(f"| {' | '.join([*facts, *scores])} |")
    return "\n".join(lines)


def _link(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / file.name).exists():
        (folder / file.name).symlink_to(file.resolve())


def _call(module: str, *options: object) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, options)], cwd=ROOT, check=True)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nuclei", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with image/ and label/ of object ids")
    parser.add_argument("--keep", type=Path, required=True, help="folder for trainings, nets and scores")
    parser.add_argument("--folds", type=int, default=3, help="default: 3")
    parser.add_argument("--width", type=int, default=16, help="channels of the net's first level (default: 16)")
    parser.add_argument("--steps", type=int, default=4000, help="of each training (default: 4000)")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="default: both")
    options = parser.parse_args(argv)
    options.data, options.keep = options.data.resolve(), options.keep.resolve()
    return options


if __name__ == "__main__":
    sys.exit(main())
