"""Which images are held out to score a training: whole groups, the end of a series, a fixed random choice, or a folder.

Everything here is deterministic: the same images and options always give the same choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from training.data.appearance import Appearance
from training.data.folder import Sample, pixel_digest
from training.data.groups import Grouping, group_names, matches_any
from training.data_error import DataError

Rule = Literal["nothing", "folder", "groups", "ends", "series", "random"]

Mask: TypeAlias = NDArray[np.bool_]
"""N bool, True for the images of one part."""

# Groups are held out whole if that holds out between these multiples of the wanted number of images.
_FEWEST, _MOST = 0.5, 1.5

# A cut moves by at most this share of the images held out, to where the images change this many times as much as the
# median; sets with fewer images are cut exactly at the wanted number.
_MOVE, _NOTABLE_CHANGE, _ENOUGH_IMAGES = 0.4, 2.0, 10

# All subsets of up to this many groups are compared; of more groups, that many random choices.
_ALL_SUBSETS, _RANDOM_CHOICES = 12, 500

# A class that is missing on one side counts more than any difference in looks.
_MISSING_CLASS = 100.0

_NAMES_SHOWN = 6


@dataclass(frozen=True, eq=False)
class HoldOut:
    """The images to train on and those held out.

    Attributes:
        rule: How the held-out images were chosen.
        said: One line for the start of the training.
        training: Samples to train on, in the order of the data.
        validation: Samples held out, in the order of the data.
        groups: Held-out groups with their number of held-out images; empty without groups.
        folder: The folder of `--val`; None if the images come from `--data`.
        units: Number of parts that could be held out one by one: groups, or images without groups.
    """

    rule: Rule
    said: str
    training: list[Sample]
    validation: list[Sample]
    groups: dict[str, int]
    folder: Path | None = None
    units: int = 0

    def record(self) -> dict[str, Any]:
        """Entry for config.json: rule, line, groups, names of the held-out images, folder if there is one."""
        found: dict[str, Any] = {"rule": self.rule, "said": self.said, "groups": self.groups}
        found["names"] = [sample.name for sample in self.validation]
        return found | ({"folder": str(self.folder)} if self.folder else {})


def hold_out(samples: list[Sample], fraction: float, pattern: str | None = None) -> HoldOut:
    """Splits the samples of one folder, or of each of several folders.

    Args:
        samples: All samples, in natural order, folder by folder.
        fraction: Share of the images to hold out, 0 <= fraction < 1; at least one image unless 0.
        pattern: Regular expression of `--group`; None to find groups from the names.

    Raises:
        DataError: There are too few images or groups, or the pattern does not fit the names.
    """
    if not fraction:
        if pattern is not None:
            raise DataError("--group has no effect if no images are held out; add --val-fraction 0.2 or --folds")
        return HoldOut("nothing", "held out: no images", samples, [], {})
    _check_enough(samples, fraction)
    if len(sources := _by_source(samples)) > 1:
        return _hold_out_of_each(sources, fraction, pattern)
    grouping = group_names([sample.name_in_source for sample in samples], pattern)
    wanted = _wanted(len(samples), fraction)
    if grouping.source == "order":
        return _series(samples, wanted)
    looks = Appearance.of(samples)
    if grouping.source == "none":
        held = _best_units(looks, [[index] for index in range(len(samples))], wanted)
        said = "a fixed random choice that looks like the rest, because the names have no order"
        return _split(samples, held, "random", said, {})
    held = _best_units(looks, list(grouping.groups.values()), wanted)
    if grouping.source == "names" and not _is_near(held.sum(), wanted):
        return _ends(samples, grouping, fraction)
    how = "by the groups of --group" if pattern is not None else "by sequence, found from the names"
    return _split(samples, held, "groups", how, grouping.groups)


def _by_source(samples: list[Sample]) -> dict[str, list[Sample]]:
    """The samples by the folder that they come from."""
    sources: dict[str, list[Sample]] = {}
    for sample in samples:
        sources.setdefault(sample.source, []).append(sample)
    return sources


def _hold_out_of_each(sources: dict[str, list[Sample]], fraction: float, pattern: str | None) -> HoldOut:
    """Splits each folder on its own, so that both sides have images of each; all of a tiny folder are trained on.

    `--group` counts in the folders that it fits.
    """
    patterns = _patterns(sources, pattern)
    tiny = {name: samples for name, samples in sources.items() if _wanted(len(samples), fraction) >= len(samples)}
    splits = {
        name: HoldOut("nothing", "held out: no images", samples, [], {})
        if name in tiny
        else hold_out(samples, fraction, patterns[name])
        for name, samples in sources.items()
    }
    if len(tiny) == len(sources):
        raise DataError(f"--val-fraction {fraction:g}: too few images in each folder to hold some out; add images")
    largest = max(splits.values(), key=lambda split: len(split.training))
    lines = "; ".join(f"{name}: {split.said.removeprefix('held out: ')}" for name, split in splits.items())
    return HoldOut(
        largest.rule,
        f"held out of each folder: {lines}",
        [sample for split in splits.values() for sample in split.training],
        [sample for split in splits.values() for sample in split.validation],
        {f"{name}/{group}": count for name, split in splits.items() for group, count in split.groups.items()},
        units=sum(split.units for split in splits.values()),
    )


def _patterns(sources: dict[str, list[Sample]], pattern: str | None) -> dict[str, str | None]:
    """The pattern of `--group` for each folder: None for folders in which it fits no name, if it fits others."""
    fits = {
        name: pattern is not None and matches_any([sample.name_in_source for sample in samples], pattern)
        for name, samples in sources.items()
    }
    return {name: pattern if fits[name] or not any(fits.values()) else None for name in sources}


def split_samples(samples: list[Sample], fraction: float) -> tuple[list[Sample], list[Sample]]:
    """Holds out the last samples.

    Args:
        samples: All samples, in natural order.
        fraction: Share to hold out, 0 <= fraction < 1; at least one sample unless 0.

    Returns:
        Training samples, held-out samples.

    Raises:
        DataError: There are too few samples.
    """
    if not fraction:
        return samples, []
    _check_enough(samples, fraction)
    wanted = _wanted(len(samples), fraction)
    return samples[:-wanted], samples[-wanted:]


def hold_out_folder(samples: list[Sample], held_out: list[Sample], folder: Path) -> HoldOut:
    """Trains on all samples and holds out those of another folder.

    Raises:
        DataError: An image is in both folders.
    """
    known = {pixel_digest(sample) for sample in samples}
    both = [sample.name for sample in held_out if pixel_digest(sample) in known]
    if both:
        raise DataError(
            f"--val {folder}: images that are also in --data: {_list(both)}; remove them from one of the two"
        )
    return HoldOut("folder", f"held out: {_count(len(held_out))} of --val {folder}", samples, held_out, {}, folder)


def make_folds(samples: list[Sample], count: int, pattern: str | None = None) -> list[HoldOut]:
    """Splits the samples into parts of about equal size and holds out each part once.

    Groups stay whole. Without groups, a series is cut into contiguous parts, and names without order are dealt out at
    random, with a fixed seed. Of several folders, the groups, contiguous parts and images are dealt out together.

    Raises:
        DataError: There are fewer images or groups than folds, or the pattern does not fit the names.
    """
    if len(_by_source(samples)) > 1:
        return _folds_of_sources(samples, count, pattern)
    grouping = group_names([sample.name_in_source for sample in samples], pattern)
    units = list(grouping.groups.values()) or [[index] for index in range(len(samples))]
    if len(units) < count:
        what = f"groups ({_list(list(grouping.groups))})" if grouping.groups else "images"
        most = f"at most --folds {len(units)}" if len(units) > 1 else "--folds needs at least 2"
        raise DataError(f"--folds {count}: there are only {len(units)} {what}; {most}")
    if grouping.source == "order":
        masks, how = _series_folds(samples, count), "contiguous images"
    else:
        masks = _dealt(Appearance.of(samples), units, count)
        how = "whole groups" if grouping.groups else "a fixed random choice"
    rule: Rule = "groups" if grouping.groups else "series" if grouping.source == "order" else "random"
    return [
        _split(samples, mask, rule, f"fold {fold} of {count}, {how}", grouping.groups)
        for fold, mask in enumerate(masks, start=1)
    ]


def _folds_of_sources(samples: list[Sample], count: int, pattern: str | None) -> list[HoldOut]:
    """Raises DataError for fewer groups and images than folds."""
    places = {id(sample): place for place, sample in enumerate(samples)}
    sources = _by_source(samples)
    patterns = _patterns(sources, pattern)
    groups = list[list[int]]()
    for name, members in sources.items():
        found = _fold_units([sample.name_in_source for sample in members], count, patterns[name])
        groups += [[places[id(members[index])] for index in unit] for unit in found]
    if len(groups) < count:
        raise DataError(f"--folds {count}: there are only {len(groups)} groups and images; use fewer folds")
    masks = _dealt(Appearance.of(samples), groups, count)
    return [
        _split(samples, mask, "random", f"fold {fold} of {count}, groups and images of all folders", {})
        for fold, mask in enumerate(masks, start=1)
    ]


def _fold_units(names: list[str], count: int, pattern: str | None) -> list[list[int]]:
    """The images of a folder that stay in one fold: its groups, the parts of a series, or each image on its own."""
    grouping = group_names(names, pattern)
    if grouping.groups:
        return list(grouping.groups.values())
    parts = min(count, len(names)) if grouping.source == "order" else len(names)
    return [part.tolist() for part in np.array_split(np.arange(len(names)), parts)]


def suggested_folds(hold_out: HoldOut) -> str:
    """A hint to use `--folds` for 5 to 20 images; "" where it would not help or not work."""
    images = len(hold_out.training) + len(hold_out.validation)
    if hold_out.rule in ("nothing", "folder") or not 5 <= images <= 20:
        return ""
    few = f"{_count(len(hold_out.validation))} held out is little"
    return f"{few}: --folds {min(5, hold_out.units)} scores all {images} images and trains the final weights on all"


def out_of_fold(provenance: Mapping[str, Any]) -> str:
    """The out-of-fold score that the provenance of weights names, as a phrase; "" for weights without `--folds`."""
    folds = provenance.get("folds")
    if not isinstance(folds, dict):
        return ""
    score = f"{folds['measure']} {folds['score']:.4f}"
    return f"trained on all images; {score} out of fold ({folds['images']} images, {folds['count']} folds)"


def _check_enough(samples: list[Sample], fraction: float) -> None:
    if _wanted(len(samples), fraction) >= len(samples):
        raise DataError(
            f"--val-fraction {fraction:g}: too few images ({len(samples)}) to hold out {fraction:.0%}; "
            "add images, or use --val DIR or --val-fraction 0"
        )


def _wanted(images: int, fraction: float) -> int:
    return max(1, round(images * fraction))


def _series(samples: list[Sample], wanted: int) -> HoldOut:
    """Holds out one contiguous block: the end of the series, or the last block in which no class is missing."""
    looks = Appearance.of(samples)
    held = np.zeros(len(samples), np.bool_)
    cut = _cut_near(looks.changes(), len(samples) - wanted, _MOVE * wanted)
    held[cut:] = True
    if not _missing(looks, held):
        moved = ", cut where the images change most" if cut != len(samples) - wanted else ""
        return _split(samples, held, "series", f"the end of the series{moved}", {})
    step = max(1, wanted // 2)
    blocks = [_block(len(samples), start, wanted) for start in range(len(samples) - wanted, -1, -step)]
    best = min(blocks, key=lambda block: _missing(looks, block))  # the first of equal ones is the nearest to the end
    said = "the end of the series" if best[-1] else "one block of the series, because its end lacks a class"
    return _split(samples, best, "series", said, {})


def _block(images: int, start: int, length: int) -> Mask:
    block = np.zeros(images, np.bool_)
    block[start : start + length] = True
    return block


def _cut_near(changes: NDArray[np.float32], wanted: int, move: float) -> int:
    """The number of images before a cut: near `wanted`, at the largest change if one stands out there.

    Args:
        changes: N - 1 differences between neighbours, see `Appearance.changes`.
        wanted: Wanted number of images before the cut, 1 to N - 1.
        move: How many images the cut may move.
    """
    images = len(changes) + 1
    first, last = max(1, wanted - int(move)), min(images - 1, wanted + int(move))
    best = max(range(first, last + 1), key=lambda cut: (changes[cut - 1], -abs(cut - wanted)))
    stands_out = changes[best - 1] >= _NOTABLE_CHANGE * np.median(changes)
    return best if stands_out and images >= _ENOUGH_IMAGES else wanted


def _ends(samples: list[Sample], grouping: Grouping, fraction: float) -> HoldOut:
    """Holds out the end of every group, because whole groups would hold out too many or too few images."""
    held = np.zeros(len(samples), np.bool_)
    for members in grouping.groups.values():
        held[members[len(members) - round(len(members) * fraction) :]] = True
    if not held.any():
        held[max(grouping.groups.values(), key=len)[-1]] = True
    said = "the end of every sequence found from the names, because no whole sequences come near the wanted share"
    return _split(samples, held, "ends", said, grouping.groups)


def _is_near(held: Any, wanted: int) -> Any:
    """Checks that a number of held-out images, or each of several, is acceptable for the wanted number."""
    return (held >= _FEWEST * wanted) & (held <= _MOST * wanted)


def _best_units(looks: Appearance, units: list[list[int]], wanted: int) -> Mask:
    """The choice of whole units whose images are most like all images, with all classes on both sides if possible.

    If no choice is near the wanted number of images, the choices that come nearest are compared.

    Args:
        looks: Appearance of all images.
        units: Numbers of the images of each group (or of each image on its own).
        wanted: Number of images to hold out.

    Returns:
        The images held out.
    """
    counts = np.array([len(unit) for unit in units])
    choices = _subsets(len(units)) if len(units) <= _ALL_SUBSETS else _random_subsets(counts, wanted)
    sizes = choices @ counts
    near = _is_near(sizes, wanted)
    if not near.any():
        near = np.abs(sizes - wanted) == np.abs(sizes - wanted).min()
    choices, sizes = choices[near], sizes[near]
    costs = _unlikeness(looks, units, choices) + np.abs(sizes / wanted - 1)
    return _images_of(units, choices[costs.argmin()], len(looks.features))


def _subsets(units: int) -> Mask:
    """All choices of some, but not all, units: (2**units - 2) x units."""
    numbers = np.arange(1, 2**units - 1)
    subsets: Mask = (numbers[:, None] >> np.arange(units)) & 1 == 1
    return subsets


def _random_subsets(counts: NDArray[np.int64], wanted: int) -> Mask:
    """Choices x units: of each of many random orders the first units, up to the size nearest to `wanted`."""
    rng = np.random.default_rng(0)
    choices = np.zeros((_RANDOM_CHOICES, len(counts)), np.bool_)
    for choice in choices:
        order = rng.permutation(len(counts))
        sizes = counts[order].cumsum()[:-1]
        choice[order[: 1 + int(np.abs(sizes - wanted).argmin())]] = True
    return choices


def _unlikeness(looks: Appearance, units: list[list[int]], choices: Mask) -> NDArray[np.float64]:
    """Difference of each choice from all images: mean difference of features, plus a penalty per missing class.

    Classes that only one unit has cannot be on both sides and do not count.
    """
    counts = np.array([len(unit) for unit in units])
    sums = np.array([looks.features[unit].sum(axis=0) for unit in units])
    present = np.array([looks.present[unit].any(axis=0) for unit in units])
    held = choices.astype(np.float64)
    difference = np.abs(held @ sums / (held @ counts)[:, None]).mean(axis=1)
    both_sides = (held @ present > 0) & ((1 - held) @ present > 0)
    missing = (~both_sides & (present.sum(axis=0) > 1)).sum(axis=1)
    return np.asarray(difference + _MISSING_CLASS * missing, np.float64)


def _missing(looks: Appearance, held: Mask) -> int:
    """The number of classes that at least two images have and that are missing on one side."""
    both_sides = looks.present[held].any(axis=0) & looks.present[~held].any(axis=0)
    return int(np.count_nonzero(~both_sides & (looks.present.sum(axis=0) > 1)))


def _series_folds(samples: list[Sample], count: int) -> list[Mask]:
    """Contiguous parts, cut where the images change most near the even cuts."""
    images = len(samples)
    changes = Appearance.of(samples).changes()
    cuts = [_cut_near(changes, round(images * fold / count), _MOVE / 2 * images / count) for fold in range(1, count)]
    return [_block(images, start, end - start) for start, end in pairwise([0, *cuts, images])]


def _dealt(looks: Appearance, units: list[list[int]], count: int) -> list[Mask]:
    """The parts, of many random ones of about equal size, that are most like all images."""
    rng = np.random.default_rng(0)
    counts = np.array([len(unit) for unit in units])
    best, lowest = np.zeros((count, len(units)), np.bool_), np.inf
    for _ in range(_RANDOM_CHOICES):
        order = rng.permutation(len(units))
        parts = np.zeros((count, len(units)), np.bool_)
        sizes = np.zeros(count, np.int64)
        for unit in order[np.argsort(-counts[order], kind="stable")]:
            smallest = int(sizes.argmin())
            parts[smallest, unit] = True
            sizes[smallest] += counts[unit]
        cost = float(_unlikeness(looks, units, parts).sum() + np.ptp(sizes) / sizes.mean())
        if cost < lowest:
            best, lowest = parts, cost
    return [_images_of(units, part, len(looks.features)) for part in best]


def _images_of(units: list[list[int]], chosen: Mask, images: int) -> Mask:
    """The images of the chosen units."""
    held = np.zeros(images, np.bool_)
    for unit in np.flatnonzero(chosen):
        held[units[unit]] = True
    return held


def _split(samples: list[Sample], held: Mask, rule: Rule, how: str, groups: dict[str, list[int]]) -> HoldOut:
    """The split by a mask, with the line that is said: "held out: 21 of 123 images, HOW: 0001TP (21)".

    Copies of held-out images are left out of the training, because images that it has seen would score too well.
    """
    validation = [sample for sample, out in zip(samples, held, strict=True) if out]
    known = {sample.once(pixel_digest) for sample in validation}
    others = [sample for sample, out in zip(samples, held, strict=True) if not out]
    copies = [sample.name for sample in others if sample.once(pixel_digest) in known]
    training = [sample for sample in others if sample.name not in copies] or others
    found = {name: int(held[members].sum()) for name, members in groups.items() if held[members].any()}
    listed = _list([f"{name} ({count})" for name, count in found.items()]) if found else ""
    said = f"held out: {len(validation)} of {_count(len(samples))}, {how}" + (f": {listed}" if listed else "")
    if copies:
        said += f"; copies {'trained on, for want of others' if training is others else 'left out'}: {_list(copies)}"
    return HoldOut(rule, said, training, validation, found, units=len(groups) or len(samples))


def _count(images: int) -> str:
    return f"{images} image{'' if images == 1 else 's'}"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
