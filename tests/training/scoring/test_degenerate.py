"""Masks that ignore the image are never chosen over a better result, and never praised: for every score and label."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.folder import Sample
from training.scoring.class_evaluation import AnyEvaluation, ClassEvaluation
from training.scoring.class_scores import Confusion
from training.scoring.measures import BOUNDED, FULL, Measures, quick
from training.scoring.object_scores import foreground_of
from training.scoring.objective import Objective
from training.scoring.prediction_scoring import evaluate_predictions
from training.scoring.selection import Peak, Verdict

SIDE = 48
Draw = Callable[[np.random.Generator], np.ndarray]


def _blob(rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    row, column = rng.integers(12, 36, 2)
    blob: np.ndarray = np.hypot(rows - row, columns - column) < rng.integers(5, 10)
    return blob


def _discs(rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE] % 16 - 8
    discs: np.ndarray = np.hypot(rows, columns) < rng.integers(4, 7)
    return discs


def _cells(rng: np.random.Generator) -> np.ndarray:
    label = np.ones((SIDE, SIDE), np.bool_)
    label[rng.integers(0, 6) :: 12] = label[:, rng.integers(0, 6) :: 12] = False
    return label


def _lines(rng: np.random.Generator) -> np.ndarray:
    label = np.zeros((SIDE, SIDE), np.bool_)
    label[rng.integers(3, 20) :][:2] = label[:, rng.integers(3, 40) :][:, :2] = True
    return label


def _nothing_or_a_blob(rng: np.random.Generator) -> np.ndarray:
    return _blob(rng) & bool(rng.random() < 0.5)


LABELS: dict[str, Draw] = {
    "one object": _blob,
    "objects": _discs,
    "cells in a net": _cells,
    "lines": _lines,
    "empty labels among others": _nothing_or_a_blob,
}
USELESS: dict[str, Draw] = {
    "all ones": lambda _: np.ones((SIDE, SIDE)),
    "all zeros": lambda _: np.zeros((SIDE, SIDE)),
    "all the same": lambda rng: np.full((SIDE, SIDE), rng.random()),
    "random": lambda rng: rng.random((SIDE, SIDE)),
}
KINDS: list[tuple[Objective, str]] = [
    *(("dice", kind) for kind in LABELS),
    *(("objects", kind) for kind in LABELS if kind != "lines"),
    ("v_rand", "objects"),
    ("v_rand", "cells in a net"),
]


def _samples(draw: Draw, seed: int, images: int) -> list[Sample]:
    rng = np.random.default_rng(seed)
    drawn = [draw(rng) for _ in range(images)]
    drawn[0] = drawn[0] if drawn[0].any() else _blob(rng)
    return [
        Sample(str(index), np.zeros((SIDE, SIDE), np.uint8), label.astype(np.uint8))
        for index, label in enumerate(drawn)
    ]


def _useful(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Probabilities of a fair net: right by a margin, with noise."""
    return np.clip(np.where(foreground_of(sample), 0.75, 0.25) + rng.normal(0, 0.05, (SIDE, SIDE)), 0, 1)


def _evaluate(samples: list[Sample], objective: Objective, found: dict[str, np.ndarray], *, fast: bool = False):
    measures = Measures(objective, segments=objective == "v_rand", matches=objective == "objects")
    effort = quick(around=0.5) if fast else FULL
    return evaluate_predictions(
        lambda sample: found[sample.name].astype(np.float32), 0.5, samples, measures, effort=effort
    )


@pytest.mark.parametrize("useless", USELESS)
@pytest.mark.parametrize(("objective", "kind"), KINDS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 5), fast=st.booleans())
def test_a_mask_that_ignores_the_image_is_never_praised_nor_chosen(objective, kind, useless, seed, images, fast):
    samples, rng = _samples(LABELS[kind], seed, images), np.random.default_rng(seed + 1)
    bad = _evaluate(samples, objective, {each.name: USELESS[useless](rng) for each in samples}, fast=fast)
    good = _evaluate(samples, objective, {each.name: _useful(each, rng) for each in samples}, fast=fast)
    assert bad.failures(), bad.scores()
    assert not good.failures(), good.scores()
    _expect_choice(good, bad, images)


def _expect_choice(good: AnyEvaluation, bad: AnyEvaluation, images: int) -> None:
    better, worse = Verdict.of(good, images), Verdict.of(bad, images)
    assert Peak.of(worse).is_equalled_by(better, is_last=False)
    assert not Peak.of(better).is_equalled_by(worse, is_last=True)


@pytest.mark.parametrize("useless", ["one class", "random"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 5), only=st.integers(0, 2))
def test_constant_class_maps_are_never_chosen_or_praised(useless, seed, images, only):
    rng = np.random.default_rng(seed)
    labels = [(_discs(rng) + _blob(rng).astype(np.uint8)).astype(np.uint8) for _ in range(images)]
    wrong = rng.random((images, SIDE, SIDE)) < 0.1
    good = [np.where(wrong[i], (label + 1) % 3, label).astype(np.uint8) for i, label in enumerate(labels)]
    bad = [
        np.full_like(label, only) if useless == "one class" else rng.integers(0, 3, label.shape).astype(np.uint8)
        for label in labels
    ]
    results = [
        ClassEvaluation({str(i): Confusion.of(mine, label, 3) for i, (mine, label) in enumerate(pairs)}, loss=loss)
        for pairs, loss in ((list(zip(good, labels, strict=True)), 0.2), (list(zip(bad, labels, strict=True)), 1.1))
    ]
    assert results[1].failures(), results[1].summary()
    assert not results[0].failures()
    _expect_choice(results[0], results[1], images)


def test_the_threshold_lies_between_the_levels_of_a_perfect_net():
    samples = _samples(_blob, 3, 4)
    found = {sample.name: np.where(foreground_of(sample), 0.9, 0.4) for sample in samples}
    evaluation = _evaluate(samples, "dice", found)
    assert evaluation.threshold == pytest.approx(0.578, abs=0.006)  # halfway from the middle to 0.5
    assert evaluation.score() == 1
    assert not evaluation.warnings()


def test_a_threshold_at_the_edge_is_a_warning():
    samples = _samples(_blob, 3, 4)
    found = {sample.name: np.where(foreground_of(sample), 0.08, 0.02) for sample in samples}
    evaluation = _evaluate(samples, "dice", found)
    assert evaluation.threshold < 0.1
    assert "is at the edge" in evaluation.warnings()[0]


def test_labels_without_foreground_leave_the_score_unknown():
    samples = [Sample("a", np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))]
    evaluation = _evaluate(samples, "dice", {"a": np.full((8, 8), 0.1)})
    assert np.isnan(evaluation.score()) or evaluation.score() == 0
    assert "no held-out label has any foreground" in " ".join(evaluation.warnings())


def test_a_bounded_evaluation_has_all_scores_of_every_image():
    samples = _samples(_discs, 0, 4)
    rng = np.random.default_rng(0)
    found = {sample.name: _useful(sample, rng) for sample in samples}
    measures = Measures("objects", matches=True)
    evaluation = evaluate_predictions(
        lambda sample: found[sample.name].astype(np.float32), 0.5, samples, measures, effort=BOUNDED
    )
    assert all(evaluation.threshold in image.structures for image in evaluation.images.values())
