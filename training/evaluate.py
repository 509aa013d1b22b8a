"""`python -m training.evaluate --weights W --data DIR`: scores weights on labelled images."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.engines.choice import ENGINES, PRECISIONS
from model.engines.tta import COUNTS
from model.errors import UserError
from model.images.decoding import decode_image
from model.images.encoding import encode_png
from model.inputs.preprocessing import FULL_SCALE, Preprocessing
from model.predict.inputs import RESULT, images_in
from model.segmenter import Segmenter
from model.unet import UNetConfig
from model.weights_file import Description, WeightsError, load_weights, save_weights
from training.data.folder import Sample, load_data
from training.data.image_reader import ImageReader, add_channel_option
from training.data.labels.label_options import LabelOptions, add_label_options, frozen_values, scheme_of
from training.data.names import listed_paths, stem_of
from training.data_error import DataError
from training.scoring.class_evaluation import AnyEvaluation, ClassEvaluation
from training.scoring.distortions import DISTORTIONS
from training.scoring.evaluation import COLUMNS, Evaluation, defined
from training.scoring.measures import Measures
from training.scoring.objective import OBJECTIVE_NAMES, OBJECTIVES, Objective, resolve_objective
from training.scoring.pixel_scores import Probabilities
from training.scoring.prediction_scoring import (
    Observer,
    Picture,
    Predictor,
    evaluate_net,
    evaluate_predictions,
    picture,
)
from training.scoring.tables import class_table, confusion_table, robustness_table, threshold_table

SHEET_ROWS = 6
NAMES_SHOWN = 6

# Options that say how to compute probabilities.
COMPUTING = ("engine", "device", "precision", "tta")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns the exit code (0, 2 after a message on stderr, 130 if it was stopped)."""
    options = _parse(argv)
    try:
        if options.calibrate:
            _check_weights(options.calibrate)
        if options.sheet:
            _check_new_file(options.sheet)
        evaluator, description = _evaluator(options)
        classes = description.architecture.classes
        samples = _chosen(_load(options, description), options.only)
        objective, reason = resolve_objective(options.select, samples, classes)
        print(f"evaluate: scored by {OBJECTIVE_NAMES[objective]}, because {reason}", file=sys.stderr)
        score = partial(evaluator, measures=Measures.suited_to(samples, objective, description.object_rule))
        if options.distorted:
            print(_robustness(score, description, samples))
        else:
            print(_scores(options, score, description, samples))
    except KeyboardInterrupt:
        print("evaluate: stopped, nothing is scored", file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    return 0


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(LabelOptions):
    """The options of `python -m training.evaluate`; `--help` explains them.

    Attributes:
        weights: The weights file; None for the bundled weights.
        probabilities: Folder of probability images to score in place of weights.
        data: Folders or ZIPs with images and labels.
        channel: Number or name of the channel to read of images that have several; "" for the weights' own.
        only: Names of the images to score; empty for all.
        select: The score that chooses the best threshold; None to decide from the labels.
        engine: As in `Segmenter.load`, and so are `device`, `precision` and `tta`.
        json: True to print JSON.
        distorted: True to score distorted images also.
        calibrate: Weights file that gets the best threshold.
        sheet: Path of a sheet of pictures to write.
    """

    weights: Path | None
    probabilities: Path | None
    data: tuple[Path, ...]
    channel: str
    only: tuple[str, ...]
    select: Objective | None
    engine: str
    device: str
    precision: str
    tta: int
    json: bool
    distorted: bool
    calibrate: Path | None
    sheet: Path | None


def _parse(argv: list[str] | None) -> EvaluationOptions:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Score weights on labelled images."
    )
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--weights", type=Path, help="default: the bundled ones")
    given.add_argument(
        "--probabilities",
        metavar="DIR",
        type=Path,
        help="score pictures of probabilities instead, named as the images are, or by model.predict; white = 1",
    )
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders with image/ and label/, or ZIPs"
    )
    add_channel_option(parser, "the channel of the weights' training, else 0, or the colours")
    add_label_options(parser)
    parser.add_argument(
        "--only", metavar="NAME", nargs="+", default=(), help="score only these images: names without suffix"
    )
    parser.add_argument(
        "--select",
        choices=OBJECTIVES,
        help="the score that chooses the best threshold and comes first (default: decided from the labels)",
    )
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="what computes the net (default: auto)")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, cuda:1, mps")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="number format (default: auto)")
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
    if arguments.probabilities and (
        ignored := [
            f"--{name}" for name in (*COMPUTING, "distorted") if getattr(arguments, name) != parser.get_default(name)
        ]
    ):
        parser.error(f"{' and '.join(ignored)}: of use with weights, not with --probabilities")
    if arguments.sheet and arguments.sheet.suffix.lower() != ".png":
        parser.error(f"--sheet {arguments.sheet}: the name of a .png file is expected")
    if arguments.distorted and (arguments.calibrate or arguments.sheet):
        parser.error("--calibrate and --sheet are for the images as they are, not --distorted")
    return EvaluationOptions(**frozen_values(arguments))


class Evaluator(Protocol):
    """Scores samples, and passes each with its probabilities or class indices to an observer."""

    def __call__(self, *, samples: list[Sample], measures: Measures, seen: Observer) -> AnyEvaluation: ...


class Scoring(Protocol):
    """An `Evaluator` whose measures are chosen."""

    def __call__(self, *, samples: list[Sample], seen: Observer) -> AnyEvaluation: ...


def _evaluator(options: EvaluationOptions) -> tuple[Evaluator, Description]:
    """Returns what scores samples, and a description of the net; stored probabilities have one class, threshold 0.5.

    Raises DataError, WeightsError, EngineError, ValueError.
    """
    if options.probabilities:
        stored = Description(name="stored", architecture=UNetConfig(), preprocessing=Preprocessing())
        predict = _stored_predictions(options.probabilities)
        return partial(evaluate_predictions, predict, stored.threshold), stored
    segmenter = Segmenter.load(
        options.weights, engine=options.engine, device=options.device, precision=options.precision, tta=options.tta
    )
    return partial(evaluate_net, segmenter), segmenter.description


def _load(options: EvaluationOptions, description: Description) -> list[Sample]:
    """The samples, with labels of as many classes as the weights have. Raises DataError, ValueError."""
    classes, reader = description.architecture.classes, ImageReader.suited_to(description, options.channel)
    if reader.channel != options.channel:
        note = f"channel {reader.channel} is read, as in the training of the weights; --channel N|NAME reads another"
        print(f"evaluate: {note}", file=sys.stderr)
    data = load_data(options.data, scheme_of(options, classes if classes > 1 else None), reader=reader)
    for note in reader.notes():
        print(f"evaluate: {note}", file=sys.stderr)
    if data.scheme.classes != classes:
        raise DataError(
            f"the labels in {listed_paths(options.data)} have {data.scheme.classes} class(es), "
            f"the weights {classes}; --label-format says how the labels are read"
        )
    return data.samples


def _stored_predictions(folder: Path) -> Predictor:
    """Reads the pictures as they are needed; raises DataError for one that is missing or does not fit."""

    def predict(sample: Sample) -> Probabilities:
        name = sample.name.replace("/", "_")  # as model.predict names results of images in subfolders
        stems = (name, name + RESULT)
        found = [path for path in images_in(folder) if stem_of(path) in stems]
        if len(found) != 1:
            wanted = f"{name}.* or {name}{RESULT}.*"
            raise DataError(f"{folder}: {len(found) or 'no'} pictures named {wanted}; one is expected")
        pixels = decode_image(found[0].read_bytes())
        if pixels.shape != sample.label.shape:
            raise DataError(f"{found[0]}: {pixels.shape}, its label is {sample.label.shape}")
        return (pixels / FULL_SCALE[pixels.dtype]).astype(np.float32)

    return predict


def _scores(options: EvaluationOptions, score: Scoring, description: Description, samples: list[Sample]) -> str:
    """The table or the JSON; writes the sheet and the calibrated weights."""
    rows: list[Picture] = []
    with tqdm(total=len(samples), unit="image", disable=None) as bar:

        def seen(sample: Sample, found: NDArray[Any]) -> None:
            bar.update()
            if options.sheet and len(rows) < SHEET_ROWS:
                rows.append(picture(sample, found, description.architecture.classes))

        evaluation = score(samples=samples, seen=seen)
    if options.sheet:
        options.sheet.write_bytes(encode_png(_stack(rows)))
    if isinstance(evaluation, ClassEvaluation):
        _warn(evaluation.failures() + evaluation.warnings())
        table, told = class_table(evaluation, description.labels), evaluation.to_json()
    else:
        stored = description.threshold
        _warn(evaluation.failures(stored) + evaluation.warnings(stored))
        if options.calibrate:
            calibrate(options.calibrate, evaluation, options.tta)
            done = f"threshold {evaluation.threshold:g} and its scores are stored in {options.calibrate}"
            print(f"evaluate: {done}", file=sys.stderr)
        table, told = threshold_table(evaluation, stored), evaluation.to_json(stored)
    return json.dumps(told, indent=1) if options.json else table


def _warn(findings: list[str]) -> None:
    for finding in findings:
        print(f"evaluate: warning: {finding}", file=sys.stderr)


def _check_new_file(path: Path) -> None:
    """Checks before hours of scoring that a file can be written, without leaving one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.exists()
    path.touch()
    if not there:
        path.unlink()


def _check_weights(path: Path) -> None:
    """Says what is wrong with the weights to calibrate before hours of scoring. Raises WeightsError."""
    if path.suffix == ".zip":
        raise WeightsError(f"weights {path}: --calibrate writes to a .safetensors file; export it again afterwards")
    weights = load_weights(path)
    if weights.description.architecture.classes > 1:
        raise WeightsError(f"weights {path}: --calibrate is for nets of one class; those of several have no threshold")


def calibrate(path: Path, evaluation: Evaluation, tta: int) -> None:
    """Stores the best threshold and the scores there in a weights file.

    Raises:
        DataError: The scores must not be trusted.
        WeightsError: The file is no weights file.
        OSError: The file cannot be written.
    """
    if failures := evaluation.failures():
        raise DataError(f"--calibrate {path}: nothing is stored, because {failures[0]}")
    weights, threshold = load_weights(path), evaluation.threshold
    plateau = [evaluation.plateau.low, evaluation.plateau.high]
    stored = {
        "objective": evaluation.objective,
        "score": evaluation.scores()[COLUMNS[evaluation.objective]],
        **defined(evaluation.scores()),
        "threshold": threshold,
        "plateau": plateau,
        "images": len(evaluation.images),
        "tta": tta,
        **({"warnings": warnings} if (warnings := evaluation.warnings()) else {}),
    }
    update = {"threshold": threshold, "provenance": weights.description.provenance | {"calibrated": stored}}
    # a link stays one
    save_weights(path.resolve(), weights.tensors, weights.description.model_copy(update=update))


def _robustness(score: Scoring, description: Description, samples: list[Sample]) -> str:
    """Returns a table with a row for each distortion."""
    kinds = {"as they are": lambda sample: sample, **DISTORTIONS}
    evaluations = {
        kind: score(samples=[distort(sample) for sample in samples], seen=lambda *_: None)
        for kind, distort in kinds.items()
    }
    totals = {kind: found.total for kind, found in evaluations.items() if isinstance(found, ClassEvaluation)}
    if totals:
        return confusion_table("images", totals, description.labels)
    at_thresholds = {kind: found for kind, found in evaluations.items() if isinstance(found, Evaluation)}
    return robustness_table(at_thresholds, description.threshold)


def _chosen(samples: list[Sample], names: Sequence[str]) -> list[Sample]:
    if not names:
        return samples
    missing = set(names) - {sample.name for sample in samples}
    if missing:
        there = ", ".join(sample.name for sample in samples[:NAMES_SHOWN])
        more = ", ..." if len(samples) > NAMES_SHOWN else ""
        raise DataError(f"no such images: {', '.join(sorted(missing))}; there are {there}{more}")
    return [sample for sample in samples if sample.name in names]


def _stack(rows: list[Picture]) -> Picture:
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 4), (0, width - row.shape[1]))) for row in rows])


if __name__ == "__main__":
    sys.exit(main())
