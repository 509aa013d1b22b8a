"""Which images a command's inputs mean, and what their results are called."""

import glob
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from model.errors import UserError
from model.images.decoding import SUFFIXES, TIFF_SUFFIXES

# What a result's name ends in, before its suffix; and while it is unfinished, as those of volumes may be for days.
RESULT = "_res"
UNFINISHED = ".unfinished"

# The first bytes of TIFF and BigTIFF, in both byte orders.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# What tells a folder that is an image from one that holds some.
_ZARR = ("zarr.json", ".zarray", ".zgroup")


class InputError(UserError):
    """Inputs that nothing can be done with. The message says why."""


class FoundImages(NamedTuple):
    """The images that the inputs of a command mean.

    Attributes:
        images: Each image once, in the order given.
        problems: The inputs that mean no image, with the reason.
        passed_over: What is in the given folders and is no image.
    """

    images: list[Path]
    problems: dict[str, str]
    passed_over: list[Path]


def find_images(inputs: Iterable[str], out: Path) -> FoundImages:
    """Finds the images of files, folders and globs.

    Of folders and globs all files with an image's suffix and all Zarr folders are taken, in natural order. Results that
    lie in `out` are no images to segment, so `out` may be the images' own folder. Raises InputError if there are no
    others.
    """
    found: dict[Path, Path] = {}
    problems: dict[str, str] = {}
    others: list[Path] = []
    folder = out.resolve()
    for text in inputs:
        try:
            images = _expand(text)
        except InputError as error:
            problems[text] = str(error)
            continue
        for path in images:
            found.setdefault(path.parent.resolve() / path.name, path)
        others += _others(Path(text), images)
    images = [path for path in found.values() if not _is_result(path, folder)]
    if found and not images:
        raise InputError(f"what is in {out} and called {RESULT} is taken for results; to segment it, use another --out")
    passed_over = [path for path in others if path.resolve() != folder and not _is_result(path, folder)]
    return FoundImages(images, problems, passed_over)


def _is_result(path: Path, folder: Path) -> bool:
    """Returns True for what lies in the folder of the results and has the name of one."""
    return path.parent.resolve() == folder and path.stem.removesuffix(UNFINISHED).endswith(RESULT)


def _others(folder: Path, images: Iterable[Path]) -> list[Path]:
    """Returns the visible entries of a folder that are no images; nothing if it is no folder, or an image itself."""
    if not folder.is_dir() or is_zarr(folder):
        return []
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    return in_natural_order({*visible} - {*images})


def is_zarr(path: Path) -> bool:
    """Returns True if a folder is a Zarr array or group, and so is one image."""
    return path.is_dir() and any((path / name).exists() for name in _ZARR)


def is_tiff(path: Path) -> bool:
    """Returns True if a file is a TIFF, by its name or by its first bytes, as those of slide scanners are."""
    if path.suffix.lower() in TIFF_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) in _TIFF
    except OSError:  # what is wrong is said when the image is read
        return False


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
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()


def _place(path: Path) -> tuple[list[list[tuple[int, str]]], str]:
    return [_natural(part) for part in path.with_suffix("").parts], path.suffix


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def name_results(images: Sequence[Path]) -> dict[Path, str]:
    """Names each image's result, without a suffix: the stem with `_res`, such as "cell_res".

    If two images share a stem, the format is added (cell_png_res, cell_tif_res). If they are in different folders, as
    many folders are added as distinguish them (monday_cell_res, friday_cell_res). If two names are still equal, the
    later image gets its format again, or a number. Upper and lower case count as equal, as on some file systems.
    """
    beside = Counter((path.parent, stem(path).casefold()) for path in images)
    own = {
        path: stem(path) if beside[path.parent, stem(path).casefold()] == 1 else f"{stem(path)}_{path.suffix[1:]}"
        for path in images
    }
    for folder in {path.parent for path in images}:
        here = {path: name for path, name in own.items() if path.parent == folder}
        own |= _told_apart(here, _clashing(here))
    names, folders = dict(own), 0
    while clashing := _clashing(names):
        folders += 1
        longer = {path: "_".join([*path.parent.resolve().parts[1:][-folders:], own[path]]) for path in clashing}
        if all(longer[path] == names[path] for path in clashing):
            longer = _told_apart(names, clashing)
        names |= longer
    return {path: name + RESULT for path, name in names.items()}


def _told_apart(names: Mapping[Path, str], clashing: Sequence[Path]) -> dict[Path, str]:
    """Returns new names of images whose names clash; the first image of each name keeps it."""
    taken = {name.casefold() for path, name in names.items() if path not in clashing}
    new = dict[Path, str]()
    for path in clashing:
        name = names[path]
        candidates = chain((name, f"{name}_{path.suffix[1:]}"), (f"{name}_{number}" for number in count(2)))
        new[path] = next(each for each in candidates if each.casefold() not in taken)
        taken.add(new[path].casefold())
    return new


def _clashing(names: Mapping[Path, str]) -> list[Path]:
    """Returns the groups of images that share a name."""
    taken = Counter(name.casefold() for name in names.values())
    found = [path for path, name in names.items() if taken[name.casefold()] > 1]
    return sorted(found, key=lambda path: names[path].casefold())
