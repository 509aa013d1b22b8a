"""Groups of images that belong together (a sequence, a patient, a slide, a stack), taken from the images' names."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from training.data_error import DataError

Source = Literal["pattern", "names", "order", "none"]

# Groups found from names count only if they are few enough and none of them holds nearly everything: shares of images.
_MOST_GROUPS, _LARGEST_GROUP = 0.6, 0.8

# Names are in order if this share of them has one form: the same text around numbers.
_ONE_FORM = 0.8

_TOKEN = re.compile(r"[^_\-./\s\[\]()]+")
_INDEX_WORDS = "frame|slice|section|plane|page|tile|patch|crop|row|col|image|img|im|time|step|view|scan|pos"
_INDEX_WORD = re.compile(_INDEX_WORDS, re.IGNORECASE)
_INDEX = re.compile(rf"(?:[a-z]|{_INDEX_WORDS})?\d+", re.IGNORECASE)
_PAGE = re.compile(r"\[\d+\]$")
_LAST_NUMBER = re.compile(r"\d+\D*$")
_SIDE = re.compile(r"(?:(?<=\d)|[_\- ])(?:l|r|left|right)$", re.IGNORECASE)


@dataclass(frozen=True)
class Grouping:
    """Which images belong together.

    Attributes:
        source: "pattern" (`--group`), "names" (groups found from the names), "order" (no groups, but names with running
            numbers) or "none" (names without any order, such as hashes).
        groups: Group name -> numbers of its images, in the order of the images; empty for "order" and "none".
    """

    source: Source
    groups: dict[str, list[int]]


def group_names(names: list[str], pattern: str | None = None) -> Grouping:
    """Groups images by their names.

    Args:
        names: Names of the images without suffix, in natural order, each once.
        pattern: Regular expression; its first capture group, or the whole match, names the group of an image.

    Raises:
        DataError: The pattern does not match a name, or puts all images into one group.
    """
    if pattern is not None:
        return Grouping("pattern", _collect(_by_pattern(names, pattern)))
    for keys in _candidates(names):
        if _is_sensible(keys):
            return Grouping("names", _collect(keys))
    return Grouping("order" if _have_order(names) else "none", {})


def matches_any(names: list[str], pattern: str) -> bool:
    """True if the pattern of `--group` fits at least one name."""
    return any(re.search(pattern, name) for name in names)


def _by_pattern(names: list[str], pattern: str) -> list[str]:
    keys = []
    for name in names:
        match = re.search(pattern, name)
        key = match and match[1 if match.re.groups else 0]
        if key is None:
            raise DataError(
                f"--group {pattern}: no match in the image name {name!r}; the pattern must match every name"
            )
        keys.append(key)
    if len(set(keys)) == 1 and len(keys) > 1:
        raise DataError(
            f"--group {pattern}: all {len(keys)} images are in one group, {keys[0]!r}; "
            "a pattern with at least 2 groups is needed, or no --group"
        )
    return keys


def _collect(keys: list[str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return groups


def _candidates(names: list[str]) -> Iterator[list[str]]:
    """Group names of all images by one rule after another, rules with larger groups first."""
    folders = [name.split("/")[:-1] for name in names]
    for depth in range(1, 1 + max(map(len, folders), default=0)):
        yield ["/".join(parts[:depth]) for parts in folders]
    stems = _without_constant_end([_PAGE.sub("", name) for name in names])
    longest = max((len(_TOKEN.findall(stem)) for stem in stems), default=0)
    for count in range(longest, 0, -1):
        yield [_without_indices(stem, count) for stem in stems]
    yield stems
    yield [_LAST_NUMBER.sub("", stem) for stem in stems]
    yield [_SIDE.sub("", stem) for stem in stems]


def _without_constant_end(stems: list[str]) -> list[str]:
    """Drops last tokens that all names share, such as "_leftImg8bit"; numbers and first tokens stay."""
    tokens = [list(_TOKEN.finditer(stem)) for stem in stems]
    while all(len(each) > 1 for each in tokens) and len({each[-1].group() for each in tokens}) == 1:
        if _INDEX.fullmatch(tokens[0][-1].group()):
            break
        for each in tokens:
            each.pop()
    return [stem[: each[-1].end()] if each else stem for stem, each in zip(stems, tokens, strict=True)]


def _without_indices(stem: str, count: int) -> str:
    """The name without at most `count` running numbers at its end ("003", "t12"), and the words that announce them."""
    tokens = list(_TOKEN.finditer(stem))
    while tokens and count and _INDEX.fullmatch(tokens[-1].group()):
        tokens.pop()
        count -= 1
    while tokens and _INDEX_WORD.fullmatch(tokens[-1].group()):
        tokens.pop()
    return stem[: tokens[-1].end()] if tokens else ""


def _is_sensible(keys: list[str]) -> bool:
    counts = Counter(keys)
    few = 2 <= len(counts) <= _MOST_GROUPS * len(keys)
    return few and "" not in counts and max(counts.values()) <= _LARGEST_GROUP * len(keys)


def _have_order(names: list[str]) -> bool:
    """Checks that most names are the same text around numbers: "7", "img_07", "volume[7]"."""
    forms = Counter(re.sub(r"\d+", "#", name) for name in names)
    form, count = forms.most_common(1)[0]
    return "#" in form and count >= _ONE_FORM * len(names)
