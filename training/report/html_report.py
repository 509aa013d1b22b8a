"""`python -m training.report --out RUN --data DIR`: a training's folder as one page for people, `report.html`.

Every training ends with it. The file is self-contained: no script, and nothing is loaded from elsewhere.
"""

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jinja2

from model.atomic_write import write_whole
from model.errors import UserError
from model.segmenter import Segmenter
from model.weights_file import load_weights
from training.data.folder import Sample, fingerprint, load_samples
from training.data.image_reader import RECORDED, ImageReader
from training.data.labels.label_scheme import LabelScheme
from training.data.names import listed_paths
from training.data_error import DataError
from training.loop.run_folder import HISTORY, RunFolder, read_history
from training.report.charts import draw_charts
from training.report.findings import Facts, ImageResult, find_warnings
from training.report.pictures import (
    WRONG_BACKGROUND,
    WRONG_FOREGROUND,
    Pictures,
    class_colour,
    draw_class_pictures,
    draw_pictures,
)
from training.scoring.class_evaluation import AnyEvaluation
from training.scoring.evaluation import COLUMNS, Evaluation
from training.scoring.measures import BOUNDED, Measures
from training.scoring.objective import EXPLANATIONS, OBJECTIVE_NAMES, OBJECTIVES, Objective, choose_objective
from training.scoring.prediction_scoring import evaluate_net, predictor
from training.scoring.rand import THRESHOLDS

TEMPLATE, CLASS_TEMPLATE = "report.html.jinja", "class_report.html.jinja"

SHOWN_AT_EACH_END = 2  # best and worst images with pictures


@dataclass(frozen=True)
class Shown:
    """A held-out image with pictures. `rank`: 1 for the worst."""

    rank: int
    name: str
    scores: ImageResult
    pictures: Pictures


def write_report(folder: RunFolder, samples: list[Sample], segmenter: Segmenter | None = None) -> Path:
    """Writes the folder's `report.html` and returns its path.

    Args:
        folder: The training's folder.
        samples: The held-out images; may be empty. All of them are scored again.
        segmenter: Has the kept weights; None loads them.

    Raises:
        WeightsError: The weights are missing or broken.
        DataError: The folder lacks something, because the training was stopped before its first check.
        EngineError: The weights cannot be run.
        OSError: The report cannot be written.
    """
    if samples and segmenter is None:
        # the engine of the training, so that both reports show the same numbers on chips that compute in bfloat16
        segmenter = Segmenter.load(folder.weights, engine="torch")
    description = segmenter.description if segmenter else load_weights(folder.weights).description
    reached = description.provenance.get("reached")
    history = read_history(folder.path / HISTORY)
    if not isinstance(reached, dict) or not history:
        raise DataError(f"{folder.path}: no training has reached its first check here")
    config = folder.read_config()
    evaluation = None
    if segmenter and samples:
        measures = Measures.suited_to(samples, _objective(config, samples, segmenter), description.object_rule)
        evaluation = evaluate_net(segmenter, samples, measures, effort=BOUNDED)
    facts = Facts(
        config=config,
        history=history,
        description=description,
        weights=folder.weights,
        kept=int(str(reached["step"])),
        steps=int(str(reached["steps"])),
        evaluation=evaluation,
    )
    shown = show_extremes(facts, samples, segmenter) if segmenter else []
    write_whole(folder.report, render(facts, shown).encode())
    return folder.report


def _objective(config: dict[str, Any], samples: list[Sample], segmenter: Segmenter) -> Objective:
    """The score that the training chose its weights by; as the labels suggest, if it chose them by none."""
    selected = config.get("recipe", {}).get("select")
    if selected in OBJECTIVES:
        return cast(Objective, selected)
    return choose_objective(samples, segmenter.description.architecture.classes)[0]


def show_extremes(facts: Facts, samples: list[Sample], segmenter: Segmenter) -> list[Shown]:
    """Draws the worst images and the best, worst first. Runs the net on them again: probabilities are not kept."""
    by_name = {sample.name: sample for sample in samples}
    ranked = list(enumerate(facts.ranked, start=1))
    if len(ranked) > 2 * SHOWN_AT_EACH_END:
        ranked = ranked[:SHOWN_AT_EACH_END] + ranked[-SHOWN_AT_EACH_END:]
    shown = []
    for rank, (name, scores) in ranked:
        shown.append(Shown(rank, name, scores, _draw(by_name[name], segmenter)))
    return shown


def _draw(sample: Sample, segmenter: Segmenter) -> Pictures:
    if segmenter.description.architecture.classes > 1:
        return draw_class_pictures(sample, segmenter.mask(sample.pixels))
    return draw_pictures(sample, predictor(segmenter)(sample), segmenter.description.threshold)


def render(facts: Facts, shown: list[Shown]) -> str:
    """The page, as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names of images are anybody's
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": _score, "duration": duration, "rgb": "rgb{}".format}
    several = facts.description.architecture.classes > 1
    return environment.get_template(CLASS_TEMPLATE if several else TEMPLATE).render(
        facts=facts,
        warnings=find_warnings(facts),
        charts=draw_charts(facts.history, facts.kept, facts.description.labels),
        shown=shown,
        serve=f"SEGMENT_WEIGHTS={shlex.quote(str(facts.weights))} python -m app",
        recipe=flattened(facts.config.get("recipe", {})),
        wrong_foreground=WRONG_FOREGROUND,
        wrong_background=WRONG_BACKGROUND,
        colour=class_colour,
        **_of_all_images(facts.evaluation, facts.description.threshold),
    )


def _of_all_images(evaluation: AnyEvaluation | None, stored: float) -> dict[str, Any]:
    """The templates' variables on all images together."""
    if evaluation is None:
        return {"total": None}
    objective = evaluation.objective
    named = {
        "objective": OBJECTIVE_NAMES[objective],
        "explanation": EXPLANATIONS[objective],
        "column": COLUMNS[objective],
    }
    if not isinstance(evaluation, Evaluation):
        return named | {"total": evaluation.total}
    at_thresholds = {t: evaluation.scores(t) for t in sorted({*THRESHOLDS, evaluation.threshold, stored})}
    return named | {"total": at_thresholds[stored], "at_thresholds": at_thresholds}


def _score(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, its keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def duration(seconds: float) -> str:
    """Seconds in the two largest units: 2 h 5 min, 3 min 20 s, 8 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code (0, or 2 after a message on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m training.report", description="Write a training's report again.")
    parser.add_argument("--out", type=Path, required=True, help="the training's folder")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        help="the folders with the held-out images (--data or --val of the training), if moved",
    )
    arguments = parser.parse_args(argv)
    try:
        if not arguments.out.is_dir():
            raise DataError(f"no folder {arguments.out}")
        folder = RunFolder(arguments.out)
        config = folder.read_config()
        data = arguments.data or _data_of(config)
        if missing := [path for path in data if not path.exists()]:
            raise DataError(
                f"no folder {missing[0]}, which had the held-out images; name the folder that has them: --data"
            )
        path = write_report(folder, _held_out(data, config))
    except (UserError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(f"report: {path}")
    return 0


def _data_of(config: dict[str, Any]) -> list[Path]:
    """The folders that the held-out images came from. Earlier versions stored one path as text."""
    stored = config.get("holdout", {}).get("folder") or config.get("data", "data/train")
    return [Path(stored)] if isinstance(stored, str) else [Path(each) for each in stored]


def _held_out(data: Sequence[Path], config: dict[str, Any]) -> list[Sample]:
    """The training's held-out images. Raises DataError if a folder does not have them, or others of their names."""
    names = config.get("validation_images")
    if not names:
        return []
    found = {sample.name: sample for sample in load_samples(data, _scheme(config), reader=_reader(config))}
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{listed_paths(data)} lacks held-out images of this training: {', '.join(missing)}")
    samples = [found[name] for name in names]
    if config.get("validation_sha256", known := fingerprint(samples)) != known:
        raise DataError(
            f"{listed_paths(data)}: the images {', '.join(names)}, or their labels, are not those of this training"
        )
    return samples


def _reader(config: dict[str, Any]) -> ImageReader:
    """The reader of the channel that the training read."""
    return ImageReader(config.get(RECORDED, ""))


def _scheme(config: dict[str, Any]) -> LabelScheme:
    """The scheme of the held-out images' labels. Earlier versions stored `label_format` and `colours`."""
    if stored := config.get("val_label_scheme") or config.get("label_scheme"):
        return LabelScheme.from_json(stored)
    classes = config["recipe"]["net"]["classes"]
    colours = tuple((red, green, blue) for red, green, blue in config.get("colours", ()))
    return LabelScheme("classes" if classes > 1 else config.get("label_format", "mask"), classes, colours)
