"""How good predictions are on labelled images.

Runs the same `Segmenter` as the service, so what is scored here is what is served there.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from model.preprocessing import Pixels
from model.segmenter import Segmenter
from training.data import Sample
from training.scores import THRESHOLDS, Label, Probabilities, Scores, score

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Evaluation:
    """Scores by image and threshold. `broken`: images whose probabilities are not all numbers."""

    images: dict[str, dict[float, Scores]]
    broken: tuple[str, ...] = ()

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
        if self.broken:
            return f"the probabilities are not all numbers: {', '.join(self.broken[:6])}"
        found = [scores[self.best_threshold].foreground for scores in self.images.values()]
        if max(found) == 0:
            return "foreground is found nowhere in any image"
        return "foreground is found everywhere in every image" if min(found) == 1 else ""

    def to_json(self, stored_threshold: float) -> dict[str, object]:
        return {
            "images": {name: {f"{t:g}": asdict(s) for t, s in scores.items()} for name, scores in self.images.items()},
            "mean": {f"{t:g}": asdict(self.mean(t)) for t in sorted({*THRESHOLDS, stored_threshold})},
            "best_threshold": self.best_threshold,
            "stored_threshold": stored_threshold,
        }


Predictor = Callable[[Sample], Probabilities]
Observer = Callable[[Sample, Probabilities], None]


def evaluate(segmenter: Segmenter, samples: list[Sample], seen: Observer = lambda *_: None) -> Evaluation:
    """Scores samples at 0.1, 0.2 ... 0.9 and the stored threshold; `seen` gets each with its probabilities H x W."""
    return evaluate_predictions(predictor(segmenter), segmenter.description.threshold, samples, seen)


def predictor(segmenter: Segmenter) -> Predictor:
    """What gives a sample's probabilities, H x W."""
    return lambda sample: segmenter.probabilities(sample.pixels)[0]


def evaluate_predictions(
    predict: Predictor, stored_threshold: float, samples: list[Sample], seen: Observer = lambda *_: None
) -> Evaluation:
    """As `evaluate`, wherever the probabilities come from."""
    thresholds = sorted({*THRESHOLDS, stored_threshold})
    images, broken = {}, []
    for sample in samples:
        probabilities = predict(sample)
        if not np.isfinite(probabilities).all():
            broken.append(sample.name)
            probabilities = np.nan_to_num(probabilities)
        images[sample.name] = {threshold: score(probabilities, sample.label, threshold) for threshold in thresholds}
        seen(sample, probabilities)
    return Evaluation(images, tuple(broken))


def picture(pixels: Pixels, label: Label, probabilities: Probabilities) -> Picture:
    """Image (stretched to full contrast), label and probabilities side by side: H x 3W uint8."""
    grey = pixels.astype(np.float64) if pixels.ndim == 2 else pixels[:, :, :3].mean(axis=2)
    grey = (grey - grey.min()) * (255 / max(grey.max() - grey.min(), 1))
    return np.hstack([grey, label * 255.0, probabilities * 255.0]).astype(np.uint8)
