"""`python -m training.evaluate --weights W --data DIR`: how good weights are on labelled images."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from model.engines.choice import ENGINES, PRECISIONS
from model.engines.engine import EngineError
from model.engines.tta import COUNTS
from model.images import SUFFIXES, decode_image, encode_png
from model.preprocessing import FULL_SCALE
from model.segmenter import Segmenter
from model.weights_file import WeightsError, load_weights, save_weights
from training.data import DataError, Sample, load_samples
from training.distortions import DISTORTIONS
from training.evaluation import Evaluation, Picture, Predictor, evaluate_predictions, picture, predictor
from training.labels import LABEL_FORMATS
from training.scores import Probabilities

SHEET_ROWS = 6


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code (0, or 2 after a message on stderr)."""
    arguments = _parse(argv)
    try:
        if arguments.calibrate:
            load_weights(arguments.calibrate).build_net()  # says now what is wrong with it
        samples = _chosen(load_samples(arguments.data, arguments.label_format), arguments.only)
        if arguments.probabilities:
            predict, threshold = _stored_predictions(arguments.probabilities), 0.5
        else:
            segmenter = _segmenter(arguments)
            predict, threshold = predictor(segmenter), segmenter.description.threshold
        if arguments.distorted:
            print(_robustness(predict, threshold, samples))
        else:
            print(_scores(arguments, predict, threshold, samples))
    except (DataError, WeightsError, EngineError, ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Score weights on labelled images."
    )
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--weights", type=Path, help="default: the bundled ones")
    given.add_argument(
        "--probabilities",
        metavar="DIR",
        type=Path,
        help="score pictures of probabilities instead: the images' names, grey PNG or TIFF, white = 1",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with image/ and label/")
    parser.add_argument("--label-format", choices=LABEL_FORMATS, default="mask", help="see training.run --help")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="score these images alone")
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--tta", type=int, choices=COUNTS, default=1, help="average over this many flips and turns")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print JSON")
    shown.add_argument("--distorted", action="store_true", help="score the images brighter, noisier, smaller ... too")
    parser.add_argument(
        "--calibrate", metavar="WEIGHTS", type=Path, help="store the best threshold and its scores in this weights file"
    )
    parser.add_argument(
        "--sheet", metavar="PNG", type=Path, help="write a sheet of pictures: image, label, probabilities"
    )
    arguments = parser.parse_args(argv)
    if arguments.probabilities and (arguments.distorted or arguments.tta > 1):
        parser.error("--distorted and --tta need weights, not --probabilities")
    if arguments.distorted and (arguments.calibrate or arguments.sheet):
        parser.error("--calibrate and --sheet are for the images as they are, not --distorted")
    return arguments


def _segmenter(arguments: argparse.Namespace) -> Segmenter:
    how = {name: getattr(arguments, name) for name in ("engine", "device", "precision", "tta")}
    segmenter = Segmenter.load(arguments.weights, **how)
    if segmenter.description.architecture.classes > 1:
        raise DataError("scores are for nets of one class; these weights have more")
    return segmenter


def _stored_predictions(folder: Path) -> Predictor:
    """Reads the pictures as they are needed; raises DataError for one that is missing or does not fit."""

    def predict(sample: Sample) -> Probabilities:
        found = [path for path in folder.iterdir() if path.stem == sample.name and path.suffix.lower() in SUFFIXES]
        if len(found) != 1:
            raise DataError(f"{folder}: {len(found) or 'no'} pictures named {sample.name}.*; one is expected")
        pixels = decode_image(found[0].read_bytes())
        if pixels.shape != sample.label.shape:
            raise DataError(f"{found[0]}: {pixels.shape}, its label is {sample.label.shape}")
        return (pixels / FULL_SCALE[pixels.dtype]).astype(np.float32)

    return predict


def _scores(arguments: argparse.Namespace, predict: Predictor, threshold: float, samples: list[Sample]) -> str:
    """The table or the JSON; writes the sheet and the calibrated weights."""
    rows: list[Picture] = []
    with tqdm(total=len(samples), unit="image", disable=None) as bar:

        def seen(sample: Sample, probabilities: Probabilities) -> None:
            bar.update()
            if arguments.sheet and len(rows) < SHEET_ROWS:
                rows.append(picture(sample.pixels, sample.label, probabilities))

        evaluation = evaluate_predictions(predict, threshold, samples, seen)
    if arguments.sheet:
        arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
        arguments.sheet.write_bytes(encode_png(_stack(rows)))
    if arguments.calibrate:
        calibrate(arguments.calibrate, evaluation, arguments.tta)
    if evaluation.warning:
        print(f"evaluate: warning: {evaluation.warning}", file=sys.stderr)
    return json.dumps(evaluation.to_json(threshold), indent=1) if arguments.json else _table(evaluation, threshold)


def calibrate(path: Path, evaluation: Evaluation, tta: int) -> None:
    """Stores the best threshold and the mean scores there in a weights file. Raises WeightsError, OSError."""
    weights, threshold = load_weights(path), evaluation.best_threshold
    scores = {**vars(evaluation.mean(threshold)), "threshold": threshold, "images": len(evaluation.images), "tta": tta}
    update = {"threshold": threshold, "provenance": weights.description.provenance | {"calibrated": scores}}
    save_weights(path, weights.tensors, weights.description.model_copy(update=update))


def _robustness(predict: Predictor, threshold: float, samples: list[Sample]) -> str:
    """A row a distortion, at the threshold that is stored and at the best one for it."""
    lines = [f"{'images':>16} {'V_rand':>8} {'V_info':>8} {'Dice':>8}   at {threshold:g}; V_rand at the best threshold"]
    for kind, distort in {"as they are": lambda sample: sample, **DISTORTIONS}.items():
        evaluation = evaluate_predictions(predict, threshold, [distort(sample) for sample in samples])
        mean, best = evaluation.mean(threshold), evaluation.best_threshold
        at_best = f"{evaluation.mean(best).v_rand:.4f} at {best:g}"
        lines.append(f"{kind:>16} {mean.v_rand:8.4f} {mean.v_info:8.4f} {mean.dice:8.4f}   {at_best}")
    return "\n".join(lines)


def _chosen(samples: list[Sample], names: list[str] | None) -> list[Sample]:
    if not names:
        return samples
    missing = set(names) - {sample.name for sample in samples}
    if missing:
        raise DataError(f"no such images: {', '.join(sorted(missing))}")
    return [sample for sample in samples if sample.name in names]


def _stack(rows: list[Picture]) -> Picture:
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 4), (0, width - row.shape[1]))) for row in rows])


def _table(evaluation: Evaluation, stored: float) -> str:
    best = evaluation.best_threshold
    names = f"{'image':>16} {'V_rand':>8} {'V_info':>8} {'Dice':>8} {'IoU':>8} {'pixel error':>12}"
    lines = [f"{names}   at threshold {stored:g}"]
    entries = {name: scores[stored] for name, scores in evaluation.images.items()}
    entries["mean"] = evaluation.mean(stored)
    entries[f"mean at {best:g}"] = evaluation.mean(best)
    for name, s in entries.items():
        lines.append(f"{name:>16} {s.v_rand:8.4f} {s.v_info:8.4f} {s.dice:8.4f} {s.iou:8.4f} {s.pixel_error:12.4f}")
    return "\n".join([*lines, f"best threshold: {best:g}"])


if __name__ == "__main__":
    sys.exit(main())
