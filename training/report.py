"""`python -m training.report --out RUN --data DIR`: a training's folder as one page for people, `report.html`.

Every training ends with it. The file stands alone: no script, and nothing loaded from anywhere.
"""

import argparse
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from model.engines.engine import EngineError
from model.segmenter import Segmenter
from model.weights_file import Description, WeightsError, load_weights
from training.charts import History, draw_charts
from training.data import DataError, Sample, load_samples
from training.evaluation import Evaluation, evaluate
from training.pictures import WRONG_BACKGROUND, WRONG_FOREGROUND, Pictures, draw_pictures
from training.run_folder import HISTORY, RunFolder, read_history
from training.scores import THRESHOLDS, Scores

TEMPLATE = "report.html.jinja"

SHOWN_AT_EACH_END = 2  # best and worst images with pictures
FEW_IMAGES = 3  # fewer held-out ones than this say little
NOTABLE = 0.005  # difference of V_rand worth a warning
NOTHING = 0.01  # V_info up to which nothing is told apart


@dataclass(frozen=True)
class Facts:
    """What a training left, but for pictures. `evaluation`: of the kept weights, None without held-out images.

    `weights`: where they lie. `kept`: the step they are of; `steps`: how many were asked for.
    """

    config: dict[str, Any]
    history: History
    description: Description
    weights: Path
    kept: int
    steps: int
    evaluation: Evaluation | None

    @property
    def last(self) -> int:
        """The last step that was checked."""
        return int(self.history[-1]["step"])

    @property
    def seconds(self) -> float:
        """How long it trained, to the last check."""
        return self.history[-1]["seconds"]

    @property
    def ranked(self) -> list[tuple[str, Scores]]:
        """Held-out images with their scores at the stored threshold, the worst V_rand first."""
        if self.evaluation is None:
            return []
        scores = [(name, at[self.description.threshold]) for name, at in self.evaluation.images.items()]
        return sorted(scores, key=lambda entry: entry[1].v_rand)


@dataclass(frozen=True)
class Shown:
    """A held-out image with pictures. `rank`: 1 for the worst V_rand."""

    rank: int
    name: str
    scores: Scores
    pictures: Pictures


def write_report(folder: RunFolder, samples: list[Sample], segmenter: Segmenter | None = None) -> Path:
    """Writes the folder's `report.html` and returns its path.

    `samples`: the held-out ones; none is fine. `segmenter`: with the kept weights, None to load them. Scores every
    sample again, and holds the probabilities of one at a time. Raises WeightsError, DataError if the folder lacks
    something (as a training that was stopped before its first check does), EngineError, OSError.
    """
    if samples and segmenter is None:
        segmenter = Segmenter.load(folder.weights)
    description = load_weights(folder.weights).description
    reached = description.provenance.get("reached")
    history = read_history(folder.path / HISTORY)
    if not isinstance(reached, dict) or not history:
        raise DataError(f"{folder.path}: no training has reached its first check here")
    facts = Facts(
        config=folder.read_config(),
        history=history,
        description=description,
        weights=folder.weights,
        kept=int(str(reached["step"])),
        steps=int(str(reached["steps"])),
        evaluation=evaluate(segmenter, samples) if segmenter and samples else None,
    )
    shown = show_extremes(facts, samples, segmenter) if segmenter else []
    folder.report.write_text(render(facts, shown), encoding="utf-8")
    return folder.report


def show_extremes(facts: Facts, samples: list[Sample], segmenter: Segmenter) -> list[Shown]:
    """The worst images and the best, worst first. Runs the net on them again, rather than keep all probabilities."""
    by_name = {sample.name: sample for sample in samples}
    ranked = [(rank, name, scores) for rank, (name, scores) in enumerate(facts.ranked, start=1)]
    if len(ranked) > 2 * SHOWN_AT_EACH_END:
        ranked = ranked[:SHOWN_AT_EACH_END] + ranked[-SHOWN_AT_EACH_END:]
    shown = []
    for rank, name, scores in ranked:
        probabilities = segmenter.probabilities(by_name[name].pixels)[0]
        pictures = draw_pictures(by_name[name], probabilities, facts.description.threshold)
        shown.append(Shown(rank, name, scores, pictures))
    return shown


def render(facts: Facts, shown: list[Shown]) -> str:
    """The page, as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names of images are anybody's
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": "{:.4f}".format, "duration": duration, "rgb": "rgb{}".format}
    threshold = facts.description.threshold
    evaluation = facts.evaluation
    return environment.get_template(TEMPLATE).render(
        facts=facts,
        warnings=find_warnings(facts),
        charts=draw_charts(facts.history, facts.kept),
        mean=evaluation and evaluation.mean(threshold),
        at_thresholds={t: evaluation.mean(t) for t in sorted({*THRESHOLDS, threshold})} if evaluation else {},
        shown=shown,
        serve=f"SEGMENT_WEIGHTS={shlex.quote(str(facts.weights))} python -m app",
        recipe=flattened(facts.config.get("recipe", {})),
        wrong_foreground=WRONG_FOREGROUND,
        wrong_background=WRONG_BACKGROUND,
    )


def find_warnings(facts: Facts) -> list[str]:
    """What a reader should know before trusting the result, a sentence or two each."""
    found = []
    first, last = facts.history[0], facts.history[-1]
    if facts.last < facts.steps:
        why = {
            "out of time": "its time was up. More --minutes give better weights.",
            "no longer better": "V_rand was no longer getting better.",
        }.get(facts.config.get("ended", ""), "The same command with --resume goes on from there.")
        found.append(f"The training was stopped, its last check was at step {facts.last} of {facts.steps}: {why}")
    if last["loss"] >= first["loss"] and len(facts.history) > 1:
        found.append(
            f"The training loss did not fall: {first['loss']:.4g} at step {first['step']:.0f}, {last['loss']:.4g} at "
            f"step {facts.last}. Do the labels belong to the images?"
        )
    return found + (_doubts(facts, facts.evaluation) if facts.evaluation else [NOT_MEASURED])


NOT_MEASURED = (
    "No images were held out, so nothing was measured: how well the weights do on new images is unknown. "
    "--val-fraction 0.2 holds out a fifth."
)


def _doubts(facts: Facts, evaluation: Evaluation) -> list[str]:
    """What is doubtful about the scores themselves."""
    found = []
    stored, best = facts.description.threshold, evaluation.best_threshold
    count = len(evaluation.images)
    if count < FEW_IMAGES:
        found.append(
            f"Only {count} image{' was' if count == 1 else 's were'} held out: on others the scores may differ much."
        )
    if evaluation.warning:
        found.append(f"{evaluation.warning[0].upper()}{evaluation.warning[1:]}.")
    elif evaluation.mean(stored).v_info <= NOTHING:
        found.append("V_info is 0: the weights tell no objects apart yet. A longer training may; so may more images.")
    if best in (THRESHOLDS[0], THRESHOLDS[-1]):
        found.append(
            f"V_rand is highest at {best:g}, the edge of the thresholds tried: the probabilities lean to one side. "
            "Longer training, or more images, should bring the best threshold towards 0.5."
        )
    gain = evaluation.mean(best).v_rand - evaluation.mean(stored).v_rand
    if gain > NOTABLE:
        found.append(
            f"At threshold {best:g} V_rand would be higher by {gain:.3f} than at the stored one, {stored:.3g}. "
            "A request may name its own threshold."
        )
    return found


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
        "--data", type=Path, default=Path("data/train"), help="what it was trained on (default: data/train)"
    )
    arguments = parser.parse_args(argv)
    try:
        if not arguments.out.is_dir():
            raise DataError(f"no folder {arguments.out}")
        folder = RunFolder(arguments.out, resume=True)
        path = write_report(folder, _held_out(arguments.data, folder.read_config()))
    except (DataError, WeightsError, EngineError, ValueError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(f"report: {path}")
    return 0


def _held_out(data: Path, config: dict[str, Any]) -> list[Sample]:
    names = config.get("validation_images")
    if not names:
        return []
    found = {sample.name: sample for sample in load_samples(data, config.get("label_format", "mask"))}
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{data} lacks held-out images of this training: {', '.join(missing)}")
    return [found[name] for name in names]


if __name__ == "__main__":
    sys.exit(main())
