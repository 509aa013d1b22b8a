"""Scores as tables of plain text."""

from collections.abc import Mapping

from training.class_scores import Confusion
from training.evaluation import ClassEvaluation, Evaluation


def threshold_table(evaluation: Evaluation, stored: float) -> str:
    """Of a net of one class, image by image at the stored threshold, and the means there and at the best one."""
    best = evaluation.best_threshold
    names = f"{'image':>16} {'V_rand':>8} {'V_info':>8} {'Dice':>8} {'IoU':>8} {'pixel error':>12}"
    lines = [f"{names}   at threshold {stored:g}"]
    entries = {name: scores[stored] for name, scores in evaluation.images.items()}
    entries["mean"] = evaluation.mean(stored)
    entries[f"mean at {best:g}"] = evaluation.mean(best)
    for name, s in entries.items():
        lines.append(f"{name:>16} {s.v_rand:8.4f} {s.v_info:8.4f} {s.dice:8.4f} {s.iou:8.4f} {s.pixel_error:12.4f}")
    return "\n".join([*lines, f"best threshold: {best:g}"])


def robustness_table(evaluations: Mapping[str, Evaluation], stored: float) -> str:
    """A row an evaluation, at the stored threshold and at the best one for it."""
    lines = [f"{'images':>16} {'V_rand':>8} {'V_info':>8} {'Dice':>8}   at {stored:g}; V_rand at the best threshold"]
    for kind, evaluation in evaluations.items():
        mean, at_best = evaluation.mean(stored), f"{evaluation.measure:.4f} at {evaluation.best_threshold:g}"
        lines.append(f"{kind:>16} {mean.v_rand:8.4f} {mean.v_info:8.4f} {mean.dice:8.4f}   {at_best}")
    return "\n".join(lines)


def class_table(evaluation: ClassEvaluation, labels: Mapping[int, str]) -> str:
    """Of a net of several classes, image by image, and class by class with all images taken together."""
    lines = [confusion_table("image", {**evaluation.images, "all": evaluation.total}, labels)]
    lines.append(f"{'class':>16} {'Dice':>10} {'IoU':>12}   of the labels")
    for index, share in evaluation.total.labelled.items():
        scores = f"{evaluation.total.dice(index):10.4f} {evaluation.total.iou(index):12.4f}"
        lines.append(f"{labels[index]:>16} {scores}   {share:.1%}")
    return "\n".join(lines)


def confusion_table(heading: str, rows: Mapping[str, Confusion], labels: Mapping[int, str]) -> str:
    """A row a confusion: the mean Dice, and that of each class where it is labelled."""
    classes = sorted({index for confusion in rows.values() for index in confusion.labelled})
    lines = [f"{heading:>16} {'mean Dice':>10} {'pixel error':>12}" + "".join(f" {labels[i]:>12}" for i in classes)]
    for name, confusion in rows.items():
        dice = [f"{confusion.dice(i):12.4f}" if i in confusion.labelled else f"{'-':>12}" for i in classes]
        lines.append(" ".join([f"{name:>16} {confusion.mean_dice:10.4f} {confusion.pixel_error:12.4f}", *dice]))
    return "\n".join(lines)
