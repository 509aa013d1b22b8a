"""`python -m benchmarks.doubts --data DIR`: how often an image looks unlike those that a net was trained on.

For each data set, the features of its training images are measured as `training.run` measures them.
The test images of all sets are compared with them, as the service does. The table has a row for each training set, and
a column for each test set. The diagonal should be near 0%, all else near 100%. No net is needed.

`--weights W --set NAME` scores a net on the test images of its set, unchanged, distorted and resized. The scores are
the share of doubts, the mean novelty, the mean Dice, and how sure the net is of its own answer.
Below the table are the rank correlations of Dice with novelty and with sureness over all these images.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.datasets.sets import ImageSet, SetError, find_sets
from benchmarks.datasets.truth import read_truths, task_of
from model.images.decoding import decode_image
from model.inputs.features import is_coloured, measure
from model.inputs.known_images import UNLIKE, KnownImages, from_all_over
from model.inputs.preprocessing import Preprocessing, Values
from model.segmenter import Segmenter
from training.data.folder import Sample
from training.scoring.distortions import DISTORTIONS, Distortion, resized

ZOOMS = (0.25, 0.5, 2.0, 3.0)

CHANGES: dict[str, Distortion] = {
    "unchanged": partial(resized, 1.0),
    **DISTORTIONS,
    **{f"{zoom:g} times as large": partial(resized, zoom) for zoom in ZOOMS},
}


@dataclass(frozen=True)
class Answer:
    """A net's result for one image.

    Attributes:
        novelty: Of the image, see `model.inputs.known_images.Novelty`.
        dice: Of the mask, 0..1.
        sureness: Mean distance of the probabilities from 0.5, times 2: 0..1.
    """

    novelty: float
    dice: float
    sureness: float


def main() -> int:
    """The command; returns the exit code."""
    options = _parse()
    try:
        sets = find_sets(options.data)
        if options.weights:
            chosen = next((each for each in sets if each.name == options.set), None)
            if chosen is None:
                raise SetError(f"--set {options.set}: choose one of {', '.join(each.name for each in sets)}")
            print(_net_table(options.weights, chosen))
        else:
            print(_matrix(sets))
    except SetError as error:
        print(f"doubts: {error}", file=sys.stderr)
        return 2
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.doubts", description="Measure how often there is a doubt."
    )
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, metavar="DIR", help="data sets, or folders of them"
    )
    parser.add_argument("--weights", type=Path, metavar="W", help="score these weights on distorted images")
    parser.add_argument("--set", metavar="NAME", help="the data set of --weights")
    arguments = parser.parse_args()
    if bool(arguments.weights) != bool(arguments.set):
        parser.error("--weights and --set go together")
    return arguments


def _matrix(sets: Sequence[ImageSet]) -> str:
    """A Markdown table: percent of the test images of each set that look unlike the training images of each."""
    tests = {each.name: [_read(pair.image) for pair in each.test] for each in sets}
    rows = [f"| trained on | {' | '.join(tests)} |", "|---" * (len(sets) + 1) + "|"]
    for each in sets:
        images = [_read(each.training[index].image) for index in from_all_over(len(each.training))]
        preprocessing = Preprocessing(
            channels="rgb" if any(map(is_coloured, images)) else "grey", normalisation="zscore"
        )
        known = KnownImages.of(images, preprocessing)
        shares = [_share(known, preprocessing, test) for test in tests.values()]
        cells = [f"{100 * share:.0f}%" for share in shares]
        cells[list(tests).index(each.name)] = f"**{cells[list(tests).index(each.name)]}**"
        rows.append(f"| {each.name} ({len(images)}) | {' | '.join(cells)} |")
    return "\n".join(rows)


def _read(path: Path) -> Values:
    return decode_image(path.read_bytes())


def _share(known: KnownImages | None, preprocessing: Preprocessing, images: Iterable[Values]) -> float:
    """The share of the images that look unlike the known ones."""
    return float(np.mean([_novelty(known, preprocessing, image) >= UNLIKE for image in images]))


def _novelty(known: KnownImages | None, preprocessing: Preprocessing, image: Values) -> float:
    """NaN for an image that is too small."""
    features = measure(image, preprocessing)
    novelty = known.novelty(features) if known and features else None
    return novelty.score if novelty else float("nan")


def _net_table(weights: Path, images: ImageSet) -> str:
    """A Markdown table of the changes, and the rank correlations."""
    segmenter = Segmenter.load(weights)
    samples = _samples(images)
    chosen = from_all_over(len(images.training))
    known = KnownImages.of(
        [_read(images.training[index].image) for index in chosen], segmenter.description.preprocessing
    )
    answers = {
        name: [_answer(segmenter, known, change(sample)) for sample in samples] for name, change in CHANGES.items()
    }
    rows = ["| images | doubt | novelty | Dice | sureness |", "|---|---|---|---|---|"]
    for name, found in answers.items():
        doubt = np.mean([answer.novelty >= UNLIKE for answer in found])
        means = np.nanmean([(answer.novelty, answer.dice, answer.sureness) for answer in found], axis=0)
        rows.append(f"| {name} | {100 * doubt:.0f}% | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    return "\n".join([*rows, "", *_correlations([answer for found in answers.values() for answer in found])])


def _samples(images: ImageSet) -> list[Sample]:
    """The test images with their labels. Raises SetError for a set of several classes."""
    task = task_of(images)
    if task.kind == "classes":
        raise SetError(f"--set {images.name}: the labels have {task.classes} classes; a set of one class is accepted")
    truths = read_truths(images, images.test, task)
    return [
        Sample(pair.name, _read(pair.image), (truth.label > 0).astype(np.uint8))
        for pair, truth in zip(images.test, truths, strict=True)
    ]


def _answer(segmenter: Segmenter, known: KnownImages | None, sample: Sample) -> Answer:
    description = segmenter.description
    probability = segmenter.probabilities(sample.pixels)[0]
    mask = probability >= description.threshold
    foreground = sample.label > 0
    dice = 2 * (mask & foreground).sum() / max(1, mask.sum() + foreground.sum())
    novelty = _novelty(known, description.preprocessing, sample.pixels)
    return Answer(novelty, float(dice), float(2 * np.abs(probability - 0.5).mean()))


def _correlations(answers: Sequence[Answer]) -> list[str]:
    large = [answer for answer in answers if np.isfinite(answer.novelty)]
    dice = [answer.dice for answer in large]
    measured = {"novelty": [answer.novelty for answer in large], "sureness": [answer.sureness for answer in large]}
    return [
        f"rank correlation of Dice with {name}: {spearmanr(dice, values)[0]:.2f}" for name, values in measured.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
