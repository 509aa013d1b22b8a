"""Findings that keep a score from being trusted, each a phrase without a capital and a full stop; "" for none."""

import math

# Thresholds at or beyond these are at the edge.
LOWEST, HIGHEST = 0.1, 0.9

# A result must cover this share of the way from the constant mask's score to 1.
PROGRESS = 0.01

# -log of the probability that a random mask overlaps the label as much. Large, since pixels of one object are not
# independent, and since the best of many thresholds is taken.
EVIDENCE = 20.0


def uniform_finding(found: int, pixels: int, images: int) -> str:
    """Reports masks that are uniform in every image although the labels are not.

    Args:
        found: Pixels found to be foreground, of all images.
        pixels: All pixels.
        images: Number of images, for the text.
    """
    where = f"in all {images} images" if images > 1 else "in the only image"
    if not found:
        return f"no foreground is found {where}"
    if found == pixels:
        return f"everything is taken for foreground {where}"
    return f"each of the {images} images is taken either wholly for foreground or wholly for background"


def constant_finding(name: str, score: float, constant: float, mask: str) -> str:
    """Reports a score that is hardly better than that of a mask that ignores the image.

    Args:
        name: Name of the score.
        score: The score, 0..1; NaN if it is undefined.
        constant: The score of the constant mask; NaN if it is undefined.
        mask: Clause that describes the constant mask.
    """
    if math.isnan(score) or math.isnan(constant) or score > constant + PROGRESS * (1 - constant):
        return ""
    return f"{name} {score:.3f} is not better than that of a mask {mask}, {constant:.3f}"


def chance_finding(hits: int, found: int, foreground: int, pixels: int) -> str:
    """Reports an overlap that a random mask of the same size may have, by Chernoff's bound.

    Args:
        hits: Foreground pixels that are found.
        found: All pixels that are found.
        foreground: Pixels of the label's foreground.
        pixels: All pixels.
    """
    if not found or not foreground or foreground == pixels:
        return ""
    precision, share = hits / found, foreground / pixels
    evidence = found * _divergence(precision, share) if precision > share else 0.0
    return "what is found agrees with the labels no better than by chance" if evidence < EVIDENCE else ""


def edge_finding(threshold: float) -> str:
    """Reports a threshold at the edge of the possible ones."""
    if LOWEST < threshold < HIGHEST:
        return ""
    return (
        f"the threshold {threshold:g} is at the edge: the probabilities lean to one side, and on other images "
        "another threshold may be much better. A longer training or more images should move it towards 0.5"
    )


def first_check_finding(step: int, steps: int) -> str:
    """Reports that the weights of the first check are the best ones."""
    return (
        f"the best weights are those of the first check, step {step} of {steps}: the training made them worse. Do the "
        "labels belong to the images? A lower --learning-rate may help"
    )


def _divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two coins, p in 0..1 and q between 0 and 1, in nats."""
    parts = ((p, q), (1 - p, 1 - q))
    return sum(mine * math.log(mine / others) for mine, others in parts if mine)
