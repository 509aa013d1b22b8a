"""Which images a command's inputs mean, and what their results are called."""

import glob
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from model.errors import UserError
from model.images.decoding import SUFFIXES

# What a result's name ends in, before its suffix; and while it is unfinished, as those of volumes may be for days.
RESULT = "_res"
UNFINISHED = ".unfinished"

# What tells a folder that is an image from one that holds some.
_ZARR = ("zarr.json", ".zarray", ".zgroup")


class InputError(UserError):
    """Inputs that nothing can be done with. The message says why."""


def find_images(inputs: Iterable[str], out: Path) -> tuple[list[Path], dict[str, str]]:
    """The images of files, folders and globs, each once, in the order given; and the inputs that mean none, with why.

    Of folders and globs all files with an image's suffix and all Zarr folders are taken, in natural order. Results that
    lie in `out` are no images to segment, so `out` may be the images' own folder. Raises InputError if there are no
    others.
    """
    found: dict[Path, Path] = {}
    problems: dict[str, str] = {}
    for text in inputs:
        try:
            for path in _expand(text):
                found.setdefault(path.parent.resolve() / path.name, path)
        except InputError as error:
            problems[text] = str(error)
    folder = out.resolve()
    results = {place for place in found if place.stem.removesuffix(UNFINISHED).endswith(RESULT)}
    images = [path for place, path in found.items() if place.parent != folder or place not in results]
    if found and not images:
        raise InputError(f"what is in {out} and called {RESULT} is taken for results; to segment it, use another --out")
    return images, problems


def is_zarr(path: Path) -> bool:
    """Returns True if a folder is a Zarr array or group, and so is one image."""
    return path.is_dir() and any((path / name).exists() for name in _ZARR)


def stem(path: Path) -> str:
    """A file's name without its suffix, which may be .ome.zarr."""
    return path.stem.removesuffix(".ome") if path.suffix == ".zarr" else path.stem


def _expand(text: str) -> list[Path]:
    """The images that one input means, at least one. Raises InputError."""
    path = Path(text)
    if is_zarr(path):
        return [path]
    if path.is_dir():
        try:
            images = sorted([*images_in(path), *filter(is_zarr, path.iterdir())], key=_place)
        except OSError as error:
            raise InputError(f"the folder cannot be read ({error.strerror})") from error
        if not images:
            raise InputError("there is no image in this folder")
        return images
    if path.exists():
        return [path]
    if text == glob.escape(text):
        raise InputError("no such file")
    # not Path.glob, which takes no absolute patterns
    matches = [Path(match) for match in glob.iglob(text, recursive=True)]  # noqa: PTH207
    images = [path for path in matches if _is_image(path) or is_zarr(path)]
    if not images:
        raise InputError("no image matches")
    return sorted(images, key=_place)


def images_in(folder: Path) -> list[Path]:
    """Returns the files of a folder with an image's suffix, hidden ones excluded, in natural order. Raises OSError."""
    return in_natural_order(filter(_is_image, folder.iterdir()))


def in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Paths sorted by name, with numbers by value: 2 before 10."""
    return sorted(paths, key=_place)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _place(path: Path) -> tuple[list[list[tuple[int, str]]], str]:
    return [_natural(part) for part in path.with_suffix("").parts], path.suffix


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def name_results(images: Sequence[Path]) -> dict[Path, str]:
    """Names each image's result, without a suffix: the stem with `_res`, such as "cell_res".

    If two images share a stem, the format is added (cell_png_res, cell_tif_res). If they are in different folders, as
    many folders are added as distinguish them (monday_cell_res, friday_cell_res). Upper and lower case count as equal,
    as on some file systems. Raises InputError if two names are still equal.
    """
    beside = Counter((path.parent, stem(path).casefold()) for path in images)
    own = {
        path: stem(path) if beside[path.parent, stem(path).casefold()] == 1 else f"{stem(path)}_{path.suffix[1:]}"
        for path in images
    }
    names, folders = dict(own), 0
    while clashing := _clashing(names):
        folders += 1
        longer = {path: "_".join([*path.parent.resolve().parts[1:][-folders:], own[path]]) for path in clashing}
        if all(longer[path] == names[path] for path in clashing):
            raise InputError(f"the results of {clashing[0]} and {clashing[1]} would have one name; rename one of them")
        names |= longer
    return {path: name + RESULT for path, name in names.items()}


def _clashing(names: Mapping[Path, str]) -> list[Path]:
    """Returns the groups of images that share a name."""
    taken = Counter(name.casefold() for name in names.values())
    found = [path for path, name in names.items() if taken[name.casefold()] > 1]
    return sorted(found, key=lambda path: names[path].casefold())
