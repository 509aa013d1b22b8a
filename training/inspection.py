"""What the images and labels of a training are, in a few plain lines, with warnings for what looks wrong."""

from collections import Counter
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from training.data import Sample
from training.label_scheme import name_classes
from training.labels import BORDER, Encoding

# A foreground is a net if it covers at most half of the label, this share of it is one piece, half as thick as the
# background, and it parts this many islands. The membranes of a real section part about 100 islands, those of a crop of
# 128 x 128 about 9; cells would part 5 at most.
_NET_SHARE = 0.8
_ISLANDS = 8
_ISLAND_PIXELS = 64

# Some labels are inverted if their shares of foreground mirror the others': 20% and 80%, give or take this much.
_MIRRORED = 0.15
_CLOSE_TO_HALF = 0.35

# Lines are at most this many pixels wide on average, and at least as long.
_LINE = 16

_NAMES_SHOWN = 6


def inspect(samples: list[Sample], names: Sequence[str] = ()) -> list[str]:
    """Lines about images and labels, then warnings. Samples whose labels were read from no file are left out.

    `names`: of several classes, see `name_classes`.
    """
    read = [(sample, sample.encoding) for sample in samples if sample.encoding]
    if not read:
        return []
    samples, encodings = [sample for sample, _ in read], [encoding for _, encoding in read]
    classes = encodings[0].scheme.classes
    if classes == 1:
        return [_images(samples), *_labels(samples, encodings), *_warnings(samples, encodings)]
    return [_images(samples), *_classes(samples, encodings, name_classes(classes, names))]


def background_is_borders(samples: list[Sample]) -> bool:
    """Whether most labels' background is a thin net between their objects, such as membranes."""
    return 2 * sum(is_net(~sample.foreground) for sample in samples) > len(samples)


def foreground_is_thin(samples: list[Sample]) -> bool:
    """Reports whether most labels' foreground is thin lines, such as vessels or cracks."""
    labelled = [sample.foreground for sample in samples if sample.foreground.any()]
    return 2 * sum(_is_thin(foreground) for foreground in labelled) > len(labelled)


def _is_thin(foreground: NDArray[np.bool_]) -> bool:
    """Reports whether the foreground H x W, not empty, is at most `_LINE` wide and much longer than wide."""
    length = np.count_nonzero(skeletonize(foreground))
    width = np.count_nonzero(foreground) / length
    lines = _areas(foreground.view(np.uint8), 8).size
    return bool(width <= _LINE and length >= _LINE * lines)


def _images(samples: list[Sample]) -> str:
    shapes = sorted((sample.pixels.shape[:2] for sample in samples), key=np.prod)
    sizes = [f"{width} x {height}" for height, width in shapes]
    several = len(set(sizes))
    stored = _tally(sizes) if several <= 2 else f"{several} sizes from {sizes[0]} to {sizes[-1]}"
    bits = _tally(f"{8 * sample.pixels.itemsize} bits" for sample in samples)
    colours = _tally("grey" if sample.pixels.ndim == 2 else "RGBA"[: sample.pixels.shape[2]] for sample in samples)
    return f"images: {_count(samples)}, {stored}, {bits}, {colours}"


def _labels(samples: list[Sample], encodings: list[Encoding]) -> list[str]:
    first = encodings[0]
    if first.scheme.format == "instances":
        bits = " and ".join(str(bits) for bits in sorted({encoding.bits for encoding in encodings}))
        objects = _range([encoding.objects for encoding in encodings])
        stored = f"instance ids ({bits} bits), {objects} objects each"
        stored += f", borders of {BORDER} pixels between those that touch"
    else:
        stored = _tally([_values(encoding) for encoding in encodings if encoding.highest] or ["0 alone"])
        stored += ", inverted (0 is foreground)" if first.scheme.format == "inverted" else ""
    shares = [round(100 * float(sample.label.mean())) for sample in samples]
    lowest_to_highest = f" ({min(shares)}% to {max(shares)}%)" if min(shares) < max(shares) else ""
    lines = [f"labels: {_count(samples)}, {stored}, {np.mean(shares):.0f}% foreground{lowest_to_highest}"]
    return lines + _palettes(samples, encodings, "foreground" if first.scheme.format == "inverted" else "background")


def _palettes(samples: list[Sample], encodings: list[Encoding], first: str) -> list[str]:
    palettes = [sample for sample, encoding in zip(samples, encodings, strict=True) if encoding.palette]
    return [f"labels: {_count(palettes)} with a palette: index 0 is {first}"] if palettes else []


def _classes(samples: list[Sample], encodings: list[Encoding], names: dict[int, str]) -> list[str]:
    """Lines, then warnings, about labels of several classes."""
    counts = {sample.label_file: np.bincount(sample.label.ravel(), minlength=len(names)) for sample in samples}
    total = np.sum([*counts.values()], axis=0)
    listed = ", ".join(f"{name} {_percent(total[index] / total.sum())}" for index, name in names.items())
    by_colour = " by colour" if encodings[0].scheme.colours else ""
    lines = [f"labels: {_count(samples)}, {len(names)} classes{by_colour}: {listed}"]
    lines += _palettes(samples, encodings, names[0])
    if missing := [name for index, name in names.items() if not total[index]]:
        lines.append(f"warning: no label has any {_names(missing)}")
    if alone := [name for name, count in counts.items() if np.count_nonzero(count) == 1]:
        lines.append(f"warning: {_names(alone)} {'is' if len(alone) == 1 else 'are'} of one class alone")
    return lines


def _percent(share: float) -> str:
    return "under 1%" if 0 < share < 0.01 else f"{share:.0%}"


def _values(encoding: Encoding) -> str:
    return "palette indices" if encoding.palette else f"0/{encoding.highest}"


def _warnings(samples: list[Sample], encodings: list[Encoding]) -> list[str]:
    empty = [sample.label_file for sample in samples if not sample.label.any()]
    full = [sample.label_file for sample in samples if sample.label.all()]
    warnings = [
        f"warning: {_names(names)} {'has' if len(names) == 1 else 'have'} no {side}"
        for names, side in ((empty, "foreground"), (full, "background"))
        if names
    ]
    if encodings[0].scheme.format == "instances":
        warnings += _instance_warnings(samples, encodings)
    else:
        warnings += _inversion_warnings(samples, inverted=encodings[0].scheme.format == "inverted")
    return warnings


def _instance_warnings(samples: list[Sample], encodings: list[Encoding]) -> list[str]:
    if all(encoding.objects <= 1 for encoding in encodings):
        return ["warning: no label has more than one id; for labels of two values: --label-format mask"]
    lost = {sample.label_file: encoding.lost for sample, encoding in zip(samples, encodings, strict=True)}
    names = [name for name in lost if lost[name]]
    if not names:
        return []
    return [f"warning: {sum(lost.values())} object(s) are too small to be left beside their borders: {_names(names)}"]


def _inversion_warnings(samples: list[Sample], *, inverted: bool) -> list[str]:
    """For labels that look inverted, all of them or a few."""
    nets = [sample for sample in samples if is_net(sample.foreground)]
    warnings = []
    if 2 * len(nets) > len(samples):
        warnings.append(
            f"warning: in {len(nets)} of {len(samples)} labels the foreground is a thin net around islands of "
            f"background; if the islands are the objects: --label-format {'mask' if inverted else 'inverted'}"
        )
    if odd := _mirrored(samples):
        warnings.append(
            f"warning: the foreground looks like the background of the other labels: {_names(odd)}; inverted?"
        )
    return warnings


def is_net(label: NDArray[np.bool_]) -> bool:
    """Whether the foreground of a label H x W is one thin connected net around many islands of background."""
    foreground = np.ascontiguousarray(label).view(np.uint8)
    if not 0 < 2 * np.count_nonzero(label) <= label.size:
        return False
    parts, islands = _areas(foreground, 8), _areas(1 - foreground, 4)
    if parts.max() < _NET_SHARE * parts.sum() or np.count_nonzero(islands >= _ISLAND_PIXELS) < _ISLANDS:
        return False
    thickness, width = (cv2.distanceTransform(side, cv2.DIST_L2, 3) for side in (foreground, 1 - foreground))
    return bool(2 * thickness[label].mean() < width[~label].mean())


def _areas(side: NDArray[np.uint8], connectivity: int) -> NDArray[np.int32]:
    _, _, stats, _ = cv2.connectedComponentsWithStats(side, connectivity=connectivity)
    areas: NDArray[np.int32] = stats[1:, cv2.CC_STAT_AREA].astype(np.int32)
    return areas


def _mirrored(samples: list[Sample]) -> list[str]:
    """The fewer labels, if all have about the same share of foreground or one minus it, and that is far from half."""
    shares = {sample.label_file: float(sample.label.mean()) for sample in samples if 0 < sample.label.mean() < 1}
    smaller = [min(share, 1 - share) for share in shares.values()]
    if not smaller or max(smaller) > _CLOSE_TO_HALF or max(smaller) - min(smaller) > _MIRRORED:
        return []
    high, low = ([name for name, share in shares.items() if (share > 0.5) == side] for side in (True, False))
    return min(high, low, key=len)


def _count(samples: list[Sample]) -> str:
    pages = sum(sample.label_file.endswith("]") for sample in samples)
    counts = {"file": len(samples) - pages, "page": pages}
    return " and ".join(f"{count} {noun}{'s' if count > 1 else ''}" for noun, count in counts.items() if count)


def _tally(kinds: Iterable[str]) -> str:
    """The one kind there is, or each with its number: "8 bits (20) and 16 bits (4)"."""
    counts = Counter(kinds).most_common()
    return counts[0][0] if len(counts) == 1 else " and ".join(f"{kind} ({count})" for kind, count in counts)


def _range(numbers: list[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}" if min(numbers) < max(numbers) else f"{numbers[0]}"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
