"""Scores as tables of plain text."""

import math
from collections.abc import Iterable, Mapping

from training.scoring.class_evaluation import ClassEvaluation
from training.scoring.class_scores import Confusion
from training.scoring.evaluation import Evaluation
from training.scoring.objective import OBJECTIVE_NAMES

NARROWEST = 8  # characters of a column of scores


def threshold_table(evaluation: Evaluation, stored: float) -> str:
    """Formats the scores of a net of one class: each image at the stored threshold, then all images together.

    The last row is at the best threshold. The first column of scores is the objective's.
    """
    best, heads = evaluation.threshold, list(evaluation.columns.values())
    rows = {name: evaluation.image_scores(name, stored) for name in evaluation.images}
    rows["all"] = evaluation.scores(stored)
    rows[f"all at {best:g}"] = evaluation.scores(best)
    lines = [f"{_head('image', heads)}   at threshold {stored:g}"]
    lines += [_row(name, scores.values(), heads) for name, scores in rows.items()]
    plateau = f"{evaluation.plateau.low:g} to {evaluation.plateau.high:g} score equally well"
    return "\n".join([*lines, f"best threshold by {OBJECTIVE_NAMES[evaluation.objective]}: {best:g} ({plateau})"])


def robustness_table(evaluations: Mapping[str, Evaluation], stored: float) -> str:
    """Formats a row for each evaluation: all scores at the stored threshold, and the best threshold."""
    heads = list(next(iter(evaluations.values())).columns.values())
    lines = [f"{_head('images', heads)}   at {stored:g}; best threshold"]
    for kind, evaluation in evaluations.items():
        at_best = f"{evaluation.score():.4f} at {evaluation.threshold:g}"
        lines.append(f"{_row(kind, evaluation.scores(stored).values(), heads)}   {at_best}")
    return "\n".join(lines)


def class_table(evaluation: ClassEvaluation, labels: Mapping[int, str]) -> str:
    """Formats the scores of a net of several classes: each image, all together, then each class of all images."""
    total, heads = evaluation.total, ["Dice", "IoU", "precision", "recall"]
    lines = [confusion_table("image", {**evaluation.images, "all": total}, labels)]
    lines.append(f"{_head('class', heads)}   of the labels")
    for index, share in total.labelled.items():
        scores = [total.dice(index), total.iou(index), total.precision(index), total.recall(index)]
        lines.append(f"{_row(labels[index], scores, heads)}   {share:.1%}")
    return "\n".join(lines)


def confusion_table(heading: str, rows: Mapping[str, Confusion], labels: Mapping[int, str]) -> str:
    """Formats a row for each confusion: the mean Dice, and the Dice of each class where it is labelled."""
    classes = sorted({index for confusion in rows.values() for index in confusion.labelled})
    heads = ["mean Dice", "pixel error", *(labels[index] for index in classes)]
    lines = [_head(heading, heads)]
    for name, confusion in rows.items():
        dice = [confusion.dice(index) if index in confusion.labelled else math.nan for index in classes]
        lines.append(_row(name, [confusion.mean_dice, confusion.pixel_error, *dice], heads))
    return "\n".join(lines)


def _head(name: str, heads: list[str]) -> str:
    return _line(name, heads, heads)


def _row(name: str, scores: Iterable[float], heads: list[str]) -> str:
    return _line(name, ("-" if math.isnan(score) else f"{score:.4f}" for score in scores), heads)


def _line(name: str, cells: Iterable[str], heads: list[str]) -> str:
    padded = [f"{cell:>{max(NARROWEST, len(head))}}" for cell, head in zip(cells, heads, strict=True)]
    return " ".join([f"{name:>16}", *padded])
