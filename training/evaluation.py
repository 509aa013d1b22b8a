"""How good predictions are on labelled images.

Runs the same `Segmenter` as the service, so what is scored here is what is served there.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from model.engines.engine import Array
from model.segmenter import Segmenter, to_mask
from training.class_scores import Confusion
from training.data import Sample
from training.scores import THRESHOLDS, Probabilities, Scores, score

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Evaluation:
    """Of a net of one class: scores by image and threshold. `broken`: images with probabilities that are no numbers."""

    MEASURE: ClassVar = "V_rand"
    """What weights are chosen by."""

    images: dict[str, dict[float, Scores]]
    broken: tuple[str, ...] = ()

    def mean(self, threshold: float) -> Scores:
        """Each score's mean over the images."""
        rows = [asdict(scores[threshold]) for scores in self.images.values()]
        return Scores(**{name: float(np.mean([row[name] for row in rows])) for name in rows[0]})

    def ranked(self, threshold: float) -> list[tuple[str, Scores]]:
        """Images with their scores at a threshold, the worst V_rand first."""
        scores = [(name, at[threshold]) for name, at in self.images.items()]
        return sorted(scores, key=lambda entry: entry[1].v_rand)

    @property
    def best_threshold(self) -> float:
        """The threshold of 0.1, 0.2 ... 0.9 with the highest mean V_rand, the one nearest to 0.5 among equals."""
        return max(THRESHOLDS, key=lambda threshold: (self.mean(threshold).v_rand, -abs(threshold - 0.5)))

    @property
    def measure(self) -> float:
        """V_rand at the best threshold."""
        return self.mean(self.best_threshold).v_rand

    def summary(self) -> dict[str, float]:
        """The mean scores at the best threshold, and that threshold."""
        best = self.best_threshold
        return {**vars(self.mean(best)), "threshold": best}

    @property
    def warning(self) -> str:
        """What is plainly wrong with the predictions, or nothing."""
        if self.broken:
            return _not_numbers(self.broken)
        best = self.best_threshold
        found = [scores[best].foreground for scores in self.images.values()]
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


@dataclass(frozen=True)
class ClassEvaluation:
    """Of a net of several classes: confusions by image. `broken`: see `Evaluation`."""

    MEASURE: ClassVar = "mean Dice"

    images: dict[str, Confusion]
    broken: tuple[str, ...] = ()

    def ranked(self) -> list[tuple[str, Confusion]]:
        """Images with their confusions, the worst mean Dice first."""
        return sorted(self.images.items(), key=lambda entry: entry[1].mean_dice)

    @property
    def total(self) -> Confusion:
        """All images taken together, so that a class counts where it is."""
        return reduce(add, self.images.values())

    @property
    def measure(self) -> float:
        """The mean Dice over the foreground classes that appear in the labels."""
        return self.total.mean_dice

    def summary(self) -> dict[str, float]:
        """The scores of all images taken together."""
        return self.total.scores()

    @property
    def warning(self) -> str:
        """What is plainly wrong with the predictions, or nothing."""
        if self.broken:
            return _not_numbers(self.broken)
        found = np.flatnonzero(self.total.pixels.sum(axis=0))
        return f"nothing but class {found[0]} is found in any image" if len(found) == 1 else ""

    def to_json(self) -> dict[str, object]:
        images = {name: confusion.scores() for name, confusion in self.images.items()}
        return {"images": images, "all": self.total.scores()}


def _not_numbers(images: tuple[str, ...]) -> str:
    return f"the probabilities are not all numbers: {', '.join(images[:6])}"


Predictor = Callable[[Sample], Probabilities]
Observer = Callable[[Sample, NDArray[Any]], None]


class Scoring(Protocol):
    """What scores samples, and lets an observer see what was found."""

    def __call__(self, samples: list[Sample], seen: Observer = ..., /) -> Evaluation | ClassEvaluation: ...


def evaluate_net(
    segmenter: Segmenter, samples: list[Sample], seen: Observer = lambda *_: None
) -> Evaluation | ClassEvaluation:
    """Scores samples as suits the net; `seen` gets each with what was found, probabilities or class indices."""
    several = segmenter.description.architecture.classes > 1
    return (evaluate_classes if several else evaluate)(segmenter, samples, seen)


def evaluate(segmenter: Segmenter, samples: list[Sample], seen: Observer = lambda *_: None) -> Evaluation:
    """Of one class, at 0.1, 0.2 ... 0.9 and the stored threshold; `seen` gets each with its probabilities H x W."""
    return evaluate_predictions(predictor(segmenter), segmenter.description.threshold, samples, seen)


def evaluate_classes(segmenter: Segmenter, samples: list[Sample], seen: Observer = lambda *_: None) -> ClassEvaluation:
    """Of several classes; `seen` gets each with the class indices found, H x W uint8."""
    images, broken = {}, []
    for sample in samples:
        found, numbers = segmenter.render(sample.pixels, _classes_and_numbers)
        if not numbers.all():
            broken.append(sample.name)
        images[sample.name] = Confusion.of(found, sample.label, segmenter.description.architecture.classes)
        seen(sample, found)
    return ClassEvaluation(images, tuple(broken))


def _classes_and_numbers(probabilities: Array) -> NDArray[np.uint8]:
    """K x H x W -> 2 x H x W: the class index, and 1 where all probabilities are numbers; less to hold than all K."""
    numbers = np.isfinite(probabilities).all(axis=0)
    return np.stack([to_mask(probabilities, 0.5), numbers.view(np.uint8)])


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
        images[sample.name] = {at: score(probabilities, sample.foreground, at) for at in thresholds}
        seen(sample, probabilities)
    return Evaluation(images, tuple(broken))


def picture(sample: Sample, found: NDArray[Any], classes: int) -> Picture:
    """Image (stretched to full contrast), label and what was found (see `evaluate_net`) side by side: H x 3W uint8."""
    pixels = sample.pixels
    grey = pixels.astype(np.float64) if pixels.ndim == 2 else pixels[:, :, :3].mean(axis=2)
    grey = (grey - grey.min()) * (255 / max(grey.max() - grey.min(), 1))
    white = 255.0 / max(1, classes - 1)
    return np.hstack([grey, sample.label * white, found * white]).astype(np.uint8)
