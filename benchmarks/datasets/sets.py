"""Data sets on disk, and how each is split into training and test images.

A set is a folder with `image/` and `label/`, whose files pair by their names without suffix.

| set | test images |
|---|---|
| `polyps` | every fifth of the 22 video sequences of CVC-ClinicDB, from the third on (sequences 3, 8, 13 and 18) |
| `streets` | the drive 0006R0 of CamVid; the training images are of the drives 0001TP (dusk) and 0016E5 (day) |
| `nuclei` | 32 at random, always the same ones |
| `cracks` | the last 20 |
| `vessels` | the last 6 |
| `isbi2012` | the last 6 sections |
| any other | the last fifth, at least one |

"Last" is meant in natural order (2 before 10).
"""

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from model.predict.inputs import images_in

IMAGES, LABELS = "image", "label"

Names = list[str]
ChooseTest = Callable[[Sequence[str]], Names]
"""Chooses the names of the test images from all names, which are in natural order."""

# The first frame of each video sequence, up to frame 466.
_POLYP_SEQUENCES = (
    *(1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206),
    *(228, 253, 278, 298, 318, 343, 364, 384, 409, 429, 448),
)
_TEST_SEQUENCES = range(2, len(_POLYP_SEQUENCES), 5)
_TEST_DRIVE = "0006R0"


class SetError(ValueError):
    """A folder that is not a data set. The message names the folder and what is missing."""


@dataclass(frozen=True)
class Pair:
    """One image file with its label file; `name` is the image's name without suffix."""

    name: str
    image: Path
    label: Path


@dataclass(frozen=True)
class KnownSet:
    """The benchmark's knowledge of a public data set.

    Attributes:
        choose_test: Chooses the names of the test images.
        void: Label value of pixels that belong to no class; they are not scored. None if there are none.
        membranes: True if the background is a net of thin borders, scored by V_rand.
        options: Options of `training.run` without which it refuses the labels.
    """

    choose_test: ChooseTest
    void: int | None = None
    membranes: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageSet:
    """One data set, split into training and test images that share no sequence."""

    name: str
    training: tuple[Pair, ...]
    test: tuple[Pair, ...]
    known: KnownSet

    def limited(self, count: int) -> "ImageSet":
        """The set with only the first `count` training images; with all of them if `count` is 0."""
        return replace(self, training=self.training[:count]) if count else self


def last(count: int, names: Sequence[str]) -> Names:
    """The last `count` names."""
    return list(names[-count:])


def last_fifth(names: Sequence[str]) -> Names:
    """The last fifth of the names, at least one."""
    return last(max(1, round(len(names) / 5)), names)


def at_random(count: int, names: Sequence[str]) -> Names:
    """`count` names, the same ones in every run."""
    chosen = np.random.default_rng(0).permutation(len(names))[:count]
    return [names[index] for index in sorted(chosen)]


def polyp_sequences(names: Sequence[str]) -> Names:
    """Frames of every fifth sequence of CVC-ClinicDB. Names are frame numbers from 1 on."""
    return [name for name in names if bisect.bisect(_POLYP_SEQUENCES, int(name)) - 1 in _TEST_SEQUENCES]


def street_drive(names: Sequence[str]) -> Names:
    """Frames of one drive of CamVid, which names tell before their first underscore."""
    return [name for name in names if name.partition("_")[0] == _TEST_DRIVE]


KNOWN = {
    "polyps": KnownSet(polyp_sequences),
    "streets": KnownSet(street_drive, void=11, options=("--classes", "12")),
    "nuclei": KnownSet(partial(at_random, 32), options=("--label-format", "instances")),
    "cracks": KnownSet(partial(last, 20)),
    "vessels": KnownSet(partial(last, 6)),
    "isbi2012": KnownSet(partial(last, 6), membranes=True),
}
_OTHER = KnownSet(last_fifth)


def find_sets(folders: Iterable[Path]) -> list[ImageSet]:
    """The sets of some folders, each a set itself or a folder of sets. Raises SetError if a folder has none."""
    found = []
    for folder in folders:
        inner = [folder] if _is_set(folder) else sorted(filter(_is_set, _subfolders(folder)))
        if not inner:
            raise SetError(f"{folder}: no data set, which is a folder with {IMAGES}/ and {LABELS}/")
        found += [split(path) for path in inner]
    return found


def split(folder: Path) -> ImageSet:
    """Splits one set by the rule for its name. Raises SetError if a part of it would be empty."""
    name = name_of(folder)
    known = KNOWN.get(name, _OTHER)
    pairs = _pairs(folder)
    test = set(known.choose_test([pair.name for pair in pairs]))
    parts = [tuple(pair for pair in pairs if (pair.name in test) == wanted) for wanted in (False, True)]
    if not all(parts):
        raise SetError(
            f"{folder}: {len(parts[0])} training and {len(parts[1])} test images; at least one each is needed"
        )
    return ImageSet(name, parts[0], parts[1], known)


def name_of(folder: Path) -> str:
    """A set's name: its folder's, or that of the folder above if the folder is called `train`."""
    resolved = folder.resolve()
    return resolved.parent.name if resolved.name == "train" else resolved.name


def _pairs(folder: Path) -> list[Pair]:
    labels = {path.stem: path for path in images_in(folder / LABELS)}
    images = images_in(folder / IMAGES)
    if alone := [path.name for path in images if path.stem not in labels]:
        raise SetError(f"{folder}: no label for {len(alone)} image(s), for example {alone[0]}")
    return [Pair(path.stem, path, labels[path.stem]) for path in images]


def _is_set(folder: Path) -> bool:
    return (folder / IMAGES).is_dir() and (folder / LABELS).is_dir()


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SetError(f"{folder}: no such folder")
    return [path for path in folder.iterdir() if path.is_dir()]
