"""The images and labels of a training in a few plain lines, with warnings for what looks wrong."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from training.data.folder import IGNORED, Sample
from training.data.labels.label_scheme import HALF, LabelScheme, name_classes
from training.data.labels.labels import BORDER, Encoding, hex_colour
from training.data.shapes import is_net, is_thin

# Some labels are inverted if their shares of foreground mirror the others': 20% and 80%, give or take this much.
_MIRRORED = 0.15
_CLOSE_TO_HALF = 0.35

_EXAMINED = 12  # labels whose shapes are measured
_NAMES_SHOWN = 6


def inspect(samples: list[Sample], names: Sequence[str] = ()) -> list[str]:
    """Lines about images and labels, then warnings; of several folders, the lines of each.

    Args:
        samples: The samples. Those whose labels were read from no file are left out.
        names: Names of the classes, see `name_classes`.
    """
    if len(sources := dict.fromkeys(sample.source for sample in samples)) > 1:
        parts = {source: [sample for sample in samples if sample.source == source] for source in sources}
        return [f"{source}: {line}" for source, part in parts.items() for line in inspect(part, names)]
    read = [(sample, sample.encoding) for sample in samples if sample.encoding]
    if not read:
        return []
    samples, encodings = [sample for sample, _ in read], [encoding for _, encoding in read]
    scheme = encodings[0].scheme
    if scheme.classes > 1:
        return [_images(samples), *_classes(samples, encodings, name_classes(scheme.classes, names))]
    return [_images(samples), _labels(samples, encodings), *_warnings(samples, encodings)]


def background_is_borders(samples: list[Sample]) -> bool:
    """True if most labels' background is a thin net between their objects, such as membranes."""
    return 2 * sum(is_net(~sample.foreground & sample.counted) for sample in samples) > len(samples)


def foreground_is_thin(samples: Sequence[Sample]) -> bool:
    """True if most labels' foreground is long narrow lines, such as vessels or cracks; empty labels do not count."""
    filled = [sample for sample in samples if sample.foreground.any()]
    chosen = np.linspace(0, len(filled) - 1, min(_EXAMINED, len(filled))).round().astype(int)
    return 2 * sum(is_thin(filled[place].foreground) for place in chosen) > len(chosen)


def _images(samples: list[Sample]) -> str:
    shapes = sorted((sample.pixels.shape[:2] for sample in samples), key=np.prod)
    sizes = [f"{width} x {height}" for height, width in shapes]
    several = len(set(sizes))
    stored = _tally(sizes) if several <= 2 else f"{several} sizes from {sizes[0]} to {sizes[-1]}"
    bits = _tally(f"{8 * sample.pixels.itemsize} bits" for sample in samples)
    colours = _tally("grey" if sample.pixels.ndim == 2 else "RGBA"[: sample.pixels.shape[2]] for sample in samples)
    return f"images: {_count(samples)}, {stored}, {bits}, {colours}"


def _labels(samples: list[Sample], encodings: list[Encoding]) -> str:
    """The line about labels of one class: their kind, the share of foreground, what was left out."""
    scheme = encodings[0].scheme
    kind = _instances(encodings) if scheme.format == "instances" else _mask(encodings)
    shares = [sample.foreground.sum() / max(1, sample.counted.sum()) for sample in samples]
    pooled = sum(sample.foreground.sum() for sample in samples) / max(
        1, sum(sample.counted.sum() for sample in samples)
    )
    ends = (_percent(min(shares)), _percent(max(shares)))
    spread = f" ({ends[0]} to {ends[1]})" if ends[0] != ends[1] else ""
    parts = [f"labels: {_count(samples)}", kind, f"{_percent(pooled)} foreground{spread}"]
    if scheme.format != "instances" and foreground_is_thin(samples):
        parts.append("thin structures")
    return "; ".join(parts + _left_out(samples, scheme))


def _instances(encodings: list[Encoding]) -> str:
    bits = " and ".join(str(bits) for bits in sorted({encoding.bits for encoding in encodings}))
    objects = _range([encoding.objects for encoding in encodings])
    overlap = sum(encoding.overlap for encoding in encodings)
    shared = f", the smaller object on top in {overlap} pixels that several claim" if overlap else ""
    return (
        f"instance ids ({bits} bits), {objects} objects each{shared}; "
        f"borders of {BORDER} pixels between objects that touch"
    )


def _mask(encodings: list[Encoding]) -> str:
    """The values of foreground and background: "foreground = 2, background = 1"."""
    scheme = encodings[0].scheme
    sides = ("background", "foreground") if scheme.format == "mask" else ("foreground", "background")
    if scheme.threshold is not None and scheme.threshold != HALF:
        ends = [value for encoding in encodings for value in encoding.values]
        return (
            f"{sides[1]} = values above {scheme.threshold:g}, {sides[0]} = values up to {scheme.threshold:g} "
            f"(grey levels {min(ends)} to {max(ends)})"
        )
    low, high = "0", _tally(f"{encoding.values[1]}" for encoding in encodings if encoding.values[1])
    if scheme.colours:
        low, high = map(hex_colour, scheme.colours)
    elif scheme.values:
        low, high = map(str, scheme.values)
    palettes = sum(encoding.palette for encoding in encodings)
    indices = f" (palette indices in {palettes})" if palettes and not scheme.colours else ""
    return ", ".join(sorted((f"{sides[1]} = {high}", f"{sides[0]} = {low}"), reverse=True)) + indices


def _left_out(samples: list[Sample], scheme: LabelScheme) -> list[str]:
    """The share of ignored pixels, if there are any."""
    ignored = sum(int(np.count_nonzero(sample.label == IGNORED)) for sample in samples)
    if not ignored:
        return []
    share = _percent(ignored / sum(sample.label.size for sample in samples))
    values = f" ({', '.join(map(str, scheme.ignore))})" if scheme.ignore else ""
    return [f"{share} ignored{values}"]


def _classes(samples: list[Sample], encodings: list[Encoding], names: dict[int, str]) -> list[str]:
    """The line about labels of several classes, then warnings."""
    scheme = encodings[0].scheme
    counts = {sample.label_file: np.bincount(sample.label[sample.counted], minlength=len(names)) for sample in samples}
    total = np.sum([*counts.values()], axis=0)
    stored = [f" = {hex_colour(colour)}" for colour in scheme.colours] or [f" = {value}" for value in scheme.values]
    listed = ", ".join(
        f"{name}{stored[index] if stored else ''} {_percent(total[index] / total.sum())}"
        for index, name in names.items()
    )
    by_colour = " by colour" if scheme.colours else ""
    palettes = sum(encoding.palette for encoding in encodings)
    indices = f" (palette indices in {palettes})" if palettes and not scheme.colours else ""
    parts = [f"labels: {_count(samples)}; {len(names)} classes{by_colour}{indices}: {listed}"]
    lines = ["; ".join(parts + _left_out(samples, scheme))]
    if missing := [name for index, name in names.items() if not total[index]]:
        lines.append(f"warning: no label has any {_names(missing)}")
    if single := [name for name, count in counts.items() if np.count_nonzero(count) == 1]:
        lines.append(f"warning: {_names(single)} {'has' if len(single) == 1 else 'have'} one class only")
    return lines


def _percent(share: float) -> str:
    """A share of pixels: "14%", below 10% with one decimal."""
    if 0 < share < 0.001:
        return "under 0.1%"
    return f"{100 * share:.1f}".removesuffix(".0") + "%" if share < 0.1 else f"{share:.0%}"


def _warnings(samples: list[Sample], encodings: list[Encoding]) -> list[str]:
    empty = [sample.label_file for sample in samples if not sample.foreground.any()]
    full = [sample.label_file for sample in samples if (sample.foreground == sample.counted).all()]
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
    """Questions about labels that may be inverted, all of them or a few."""
    nets = [sample for sample in samples if is_net(sample.foreground)]
    warnings = []
    if 2 * len(nets) > len(samples):
        warnings.append(
            f"warning: in {len(nets)} of {len(samples)} labels the foreground is a thin net that encloses islands of "
            f"background. Are the islands the objects? Then use --label-format {'mask' if inverted else 'inverted'}"
        )
    if odd := _mirrored(samples):
        warnings.append(
            f"warning: the foreground of {_names(odd)} looks like the background of the other labels. "
            f"{'Is this label' if len(odd) == 1 else 'Are these labels'} inverted?"
        )
    return warnings


def _mirrored(samples: list[Sample]) -> list[str]:
    """The fewer labels, if all have about the same share of foreground or one minus it, and that is far from half."""
    shares = {sample.label_file: float(sample.foreground.mean()) for sample in samples}
    shares = {name: share for name, share in shares.items() if 0 < share < 1}
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
    if not counts:
        return "none"
    return counts[0][0] if len(counts) == 1 else " and ".join(f"{kind} ({count})" for kind, count in counts)


def _range(numbers: list[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}" if min(numbers) < max(numbers) else f"{numbers[0]}"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
