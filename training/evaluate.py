"""`python -m training.evaluate --weights W --data DIR`: how good weights are on labelled images.

Runs the same `Segmenter` as the service, so what is scored here is what is served there.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.engine import EngineError
from model.images import encode_png
from model.preprocessing import Pixels
from model.segmenter import Segmenter
from model.tta import COUNTS
from model.weights_file import BUNDLED, WeightsError
from training.data import DataError, Sample, load_samples
from training.labels import LABEL_FORMATS
from training.scores import THRESHOLDS, Label, Probabilities, Scores, score

Picture = NDArray[np.uint8]

SHEET_ROWS = 6


@dataclass(frozen=True)
class Evaluation:
    """Scores by image and threshold."""

    images: dict[str, dict[float, Scores]]

    def mean(self, threshold: float) -> Scores:
        """Each score's mean over the images."""
        rows = [asdict(scores[threshold]) for scores in self.images.values()]
        return Scores(**{name: float(np.mean([row[name] for row in rows])) for name in rows[0]})

    @property
    def best_threshold(self) -> float:
        """The threshold of 0.1, 0.2 ... 0.9 with the highest mean V_rand, the one nearest to 0.5 among equals."""
        return max(THRESHOLDS, key=lambda threshold: (self.mean(threshold).v_rand, -abs(threshold - 0.5)))

    @property
    def warning(self) -> str:
        """What is plainly wrong with the predictions, or nothing."""
        found = [scores[self.best_threshold].foreground for scores in self.images.values()]
        if not max(found) > 0:
            return "foreground is found nowhere in the held-out images"
        if min(found) == 1:
            return "foreground is found everywhere in the held-out images"
        return ""

    def to_json(self, stored_threshold: float) -> dict[str, object]:
        return {
            "images": {name: {f"{t:g}": asdict(s) for t, s in scores.items()} for name, scores in self.images.items()},
            "mean": {f"{t:g}": asdict(self.mean(t)) for t in sorted({*THRESHOLDS, stored_threshold})},
            "best_threshold": self.best_threshold,
            "stored_threshold": stored_threshold,
        }


def evaluate(
    segmenter: Segmenter, samples: list[Sample], seen: Callable[[Sample, Probabilities], None] = lambda *_: None
) -> Evaluation:
    """Scores samples at 0.1, 0.2 ... 0.9 and the stored threshold; `seen` gets each with its probabilities H x W."""
    thresholds = sorted({*THRESHOLDS, segmenter.description.threshold})
    images = {}
    for sample in samples:
        probabilities = segmenter.probabilities(sample.pixels)[0]
        images[sample.name] = {threshold: score(probabilities, sample.label, threshold) for threshold in thresholds}
        seen(sample, probabilities)
    return Evaluation(images)


def picture(pixels: Pixels, label: Label, probabilities: Probabilities) -> Picture:
    """Image (stretched to full contrast), label and probabilities side by side: H x 3W uint8."""
    grey = pixels.astype(np.float64) if pixels.ndim == 2 else pixels[:, :, :3].mean(axis=2)
    grey = (grey - grey.min()) * (255 / max(grey.max() - grey.min(), 1))
    return np.hstack([grey, label * 255.0, probabilities * 255.0]).astype(np.uint8)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code (0, or 2 after a message on stderr)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Score weights on labelled images."
    )
    parser.add_argument("--weights", type=Path, default=BUNDLED, help="default: the bundled ones")
    parser.add_argument("--data", type=Path, required=True, help="folder with image/ and label/")
    parser.add_argument(
        "--label-format",
        choices=LABEL_FORMATS,
        default="mask",
        help="0 is background (the default), 0 is foreground, or each other value is an object",
    )
    parser.add_argument("--only", metavar="NAME", nargs="+", help="score these images alone")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--tta", type=int, choices=COUNTS, default=1, help="average over this many flips and turns")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--sheet", metavar="PNG", type=Path, help="write a sheet of pictures: image, label, probabilities"
    )
    arguments = parser.parse_args(argv)
    try:
        samples = _chosen(load_samples(arguments.data, arguments.label_format), arguments.only)
        segmenter = Segmenter.load(
            arguments.weights, device=arguments.device, precision=arguments.precision, tta=arguments.tta
        )
        if segmenter.description.architecture.classes > 1:
            raise DataError("scores are for nets of one class; these weights have more")
        if arguments.sheet:
            arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
        rows: list[Picture] = []
        bar = tqdm(total=len(samples), unit="image", disable=None)

        def seen(sample: Sample, probabilities: Probabilities) -> None:
            bar.update()
            if arguments.sheet and len(rows) < SHEET_ROWS:
                rows.append(picture(sample.pixels, sample.label, probabilities))

        evaluation = evaluate(segmenter, samples, seen)
        bar.close()
        if arguments.sheet:
            arguments.sheet.write_bytes(encode_png(_stack(rows)))
    except (DataError, WeightsError, EngineError, ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    stored = segmenter.description.threshold
    print(json.dumps(evaluation.to_json(stored), indent=1) if arguments.json else _table(evaluation, stored))
    return 0


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
    lines = [f"{names}   at the stored threshold {stored:g}"]
    entries = {name: scores[stored] for name, scores in evaluation.images.items()}
    entries["mean"] = evaluation.mean(stored)
    entries[f"mean at {best:g}"] = evaluation.mean(best)
    for name, s in entries.items():
        lines.append(f"{name:>16} {s.v_rand:8.4f} {s.v_info:8.4f} {s.dice:8.4f} {s.iou:8.4f} {s.pixel_error:12.4f}")
    return "\n".join([*lines, f"best threshold: {best:g}"])


if __name__ == "__main__":
    sys.exit(main())
