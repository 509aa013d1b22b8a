"""The sentence about an image that looks unlike the images that a net was trained on."""

from collections.abc import Sequence

import numpy as np

from model.inputs.features import LEAST_SHARE, OCTAVES, Features, is_coloured, measure
from model.inputs.known_images import UNLIKE, KnownImages, Novelty
from model.inputs.preprocessing import Preprocessing, Values

_BEGINNING = "The image looks unlike the images that"

# Pages of a stack that are looked at.
_PAGES = 3

# Share of the difference from which a group of features is named.
_NOTABLE = 0.25

# Change of the mean scale in octaves, or of the asymmetry in standard deviations, from which it has a direction.
_CLEAR = 0.3

# Share of the variance below which an image has no structure to speak of.
_FLAT = 0.05

# Correlation of channels from which a picture looks grey.
_GREY = 0.995


def novelty_notice(
    name: str, known: KnownImages, preprocessing: Preprocessing, pages: Sequence[Values], bits: int = 0
) -> str:
    """Returns a sentence about the pages of a file; "" if most of them look like the training images.

    Args:
        name: Name of the net.
        known: Its training images.
        preprocessing: What it sees of an image.
        pages: H x W or H x W x C each.
        bits: As for `Preprocessing.affine`.
    """
    found = _novelties(known, preprocessing, pages, bits)
    unlike = [(novelty, page) for novelty, page in found if novelty.score >= UNLIKE]
    if 2 * len(unlike) <= len(found):
        return ""
    novelty, page = max(unlike, key=lambda each: each[0].score)
    colour = ["colour where they are grey"] if is_coloured(page) and not known.coloured else []
    said = [*colour, *describe(novelty)][:2]
    return f"{_BEGINNING} {name} was trained on: {' and '.join(said)}."


def is_novelty_notice(sentence: str) -> bool:
    """Returns True for a sentence of `novelty_notice`."""
    return sentence.startswith(_BEGINNING)


def is_familiar(known: KnownImages, preprocessing: Preprocessing, pages: Sequence[Values], bits: int = 0) -> bool:
    """Returns True if most pages of a file look like the training images; False if no page can be compared.

    Args: see `novelty_notice`. Pages with other channels than the net takes cannot be compared.
    """
    try:
        found = _novelties(known, preprocessing, pages, bits)
    except ValueError:
        return False
    return 2 * sum(novelty.score < UNLIKE for novelty, _ in found) > len(found)


def _novelties(
    known: KnownImages, preprocessing: Preprocessing, pages: Sequence[Values], bits: int
) -> list[tuple[Novelty, Values]]:
    """Returns the novelty of some of the pages, with these pages; without pages that cannot be compared."""
    looked_at = [pages[index] for index in np.linspace(0, len(pages) - 1, min(_PAGES, len(pages))).astype(int)]
    return [(novelty, page) for page in looked_at if (novelty := _novelty(known, preprocessing, page, bits))]


def _novelty(known: KnownImages, preprocessing: Preprocessing, page: Values, bits: int) -> Novelty | None:
    features = measure(page, preprocessing, bits) if known.can_judge(page) else None
    return (features and known.novelty(features)) or None


def describe(novelty: Novelty) -> list[str]:
    """Returns what differs most from the nearest training image, as phrases, the largest difference first."""
    squares = dict.fromkeys(_PHRASES, 0.0)
    for feature, difference in novelty.differences.items():
        squares[feature.partition(" ")[0]] += difference**2
    ordered = sorted(squares, key=lambda group: -squares[group])
    return [_PHRASES[group](novelty) for group in ordered if squares[group] >= _NOTABLE * sum(squares.values())]


def _fineness(novelty: Novelty) -> str:
    share, scale = _structure(novelty.features)
    if share < _FLAT:
        return "hardly any structure"
    change = scale - _structure(novelty.nearest)[1]
    return _direction(change, "coarser structures", "finer structures", "other structures")


def _structure(features: Features) -> tuple[float, float]:
    """Share of the variance that is structure of up to 32 pixels, 0..1, and the mean scale of all, in octaves."""
    shares = np.exp([features[f"fineness {2**octave}"] for octave in range(OCTAVES)]) - LEAST_SHARE
    total = float(shares.sum())
    coarser = max(0.0, 1 - total) * OCTAVES
    return total, float(shares @ np.arange(OCTAVES)) + coarser


def _tones(novelty: Novelty) -> str:
    change = _asymmetry(novelty.features) - _asymmetry(novelty.nearest)
    dark, bright = "bright parts on a darker ground", "dark parts on a brighter ground"
    return _direction(change, dark, bright, "other grey values")


def _asymmetry(features: Features) -> float:
    """Distance of the brightest values to the median minus that of the darkest ones, in standard deviations."""
    return features["tones 0.95"] + features["tones 0.05"] - 2 * features["tones 0.5"]


def _channels(novelty: Novelty) -> str:
    grey, was_grey = (_least_correlation(each) > _GREY for each in (novelty.features, novelty.nearest))
    if grey == was_grey:
        return "other colours"
    return "grey where they are in colour" if grey else "colour where they are grey"


def _least_correlation(features: Features) -> float:
    return min(value for name, value in features.items() if name.startswith("channels"))


def _brightness(novelty: Novelty) -> str:
    change, contrast = (novelty.differences[f"brightness {moment}"] for moment in ("mean", "deviation"))
    if abs(contrast) > abs(change):
        return "more contrast" if contrast > 0 else "less contrast"
    return "a brighter picture" if change > 0 else "a darker picture"


def _direction(change: float, up: str, down: str, other: str) -> str:
    return other if abs(change) < _CLEAR else up if change > 0 else down


_PHRASES = {"fineness": _fineness, "tones": _tones, "channels": _channels, "brightness": _brightness}
