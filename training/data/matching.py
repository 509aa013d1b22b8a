"""Pairs of image and label files: which label belongs to which image of a folder.

`training.data.pairing` finds the folders.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from model.images.decoding import SUFFIXES
from training.data.labels.label_files import LABEL_SUFFIXES
from training.data.labels.polygons import Coco
from training.data.names import files_below, image_key, is_marked, is_text, label_key, name_of
from training.data.saved_labels import is_saved

Keys = list[tuple[Callable[[str], str], Callable[[str], str]]]

_LABELS_ONLY = tuple(suffix for suffix in LABEL_SUFFIXES if suffix not in SUFFIXES)


@dataclass(frozen=True)
class Pair:
    """An image file and its label.

    Attributes:
        name: The image's path below its folder, without suffix, with "/" between its parts.
        image: The image file.
        labels: The label file, or one file per object.
        per_object: True if each label file shows one object.
        coco: The annotation file that holds the label, instead of label files.
        coco_name: The image's name in the annotation file.
    """

    name: str
    image: Path
    labels: tuple[Path, ...] = ()
    per_object: bool = False
    coco: Coco | None = None
    coco_name: str = ""


@dataclass(frozen=True)
class Layout:
    """The pairs of a data folder, in natural order.

    Attributes:
        images: The folder of the images.
        labels: The folder or the file of the labels.
        pairs: Images that have a label.
        problems: Files that fit no other file, one line each.
        notes: Choices that a reader should know of, one line each.
    """

    images: Path
    labels: Path
    pairs: list[Pair] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def two_folders(images: Path, labels: Sequence[Path]) -> Layout:
    """The layout of a folder of images beside a folder of labels."""
    folder = labels[0]
    layout = Layout(images, folder)
    named = _by_name(files_below(images, SUFFIXES), images, layout.problems)
    objects = _object_folders(folder, named)
    inside = {path for files in objects.values() for path in files}
    rest = [path for path in files_below(folder, LABEL_SUFFIXES) if path not in inside]
    stored = _by_name(rest, folder, layout.problems)
    if is_saved(images.parent):
        named = _without_unfinished(named, stored, layout.notes)
    layout.pairs.extend(Pair(name, named[name], files, per_object=True) for name, files in objects.items())
    keys: Keys = [(str, str), (image_key, label_key), (_last(image_key), _last(label_key))]
    _match({name: path for name, path in named.items() if name not in objects}, stored, layout, keys)
    if len(labels) > 1:
        others = ", ".join(path.name for path in labels[1:])
        layout.notes.append(f"labels are read from {folder.name}; {others} is not used")
    return _in_order(layout, named)


def _without_unfinished(images: dict[str, Path], labels: dict[str, Path], notes: list[str]) -> dict[str, Path]:
    """The images with a label: a service that is killed while it saves a pair leaves an image without a label."""
    finished = {name: path for name, path in images.items() if name in labels}
    if left := len(images) - len(finished):
        notes.append(f"{left} image(s) without a label are not used: the service was stopped while it saved them")
    return finished


def _by_name(files: Iterable[Path], folder: Path, problems: list[str]) -> dict[str, Path]:
    """Files by name; files of one name and names that are no text are added to the problems."""
    found: dict[str, Path] = {}
    for path in files:
        name = name_of(path, folder)
        if not is_text(name):
            problems.append(f"{str(path)!a}: its name is not in UTF-8")
        elif name in found:
            problems.append(f"{path}: {found[name].name} has the same name")
        else:
            found[name] = path
    return found


def _object_folders(folder: Path, images: dict[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Files of objects by image name: those in a label subfolder that is called like the image."""
    by_key = groups(images, image_key)
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.name.startswith("."):
            relative = "/".join(path.relative_to(folder).parts)
            names = [relative] if relative in images else by_key.get(label_key(relative), [])
            files = [file for file in files_below(path, LABEL_SUFFIXES) if file.parent == path]
            if len(names) == 1 and files:
                found[names[0]] = tuple(files)
    return found


def _match(images: dict[str, Path], labels: dict[str, Path], layout: Layout, keys: Keys) -> None:
    """Adds the pairs whose names have equal keys, by the first pair of key functions (images, labels) that fits."""
    images, labels = dict(images), dict(labels)
    for key_of_image, key_of_label in keys:
        of_images, of_labels = groups(images, key_of_image), groups(labels, key_of_label)
        for key, names in of_images.items():
            if len(names) == len(of_labels.get(key, ())) == 1:
                pair = Pair(names[0], images.pop(names[0]), (labels.pop(of_labels[key][0]),))
                layout.pairs.append(pair)
    several = groups(labels, label_key)
    for name, path in images.items():
        fitting = [labels[each].name for each in several.get(image_key(name), ())]
        problem = f"several labels, {', '.join(fitting)}; one is expected" if len(fitting) > 1 else ""
        layout.problems.append(f"{path}: {problem or f'no label {layout.labels.name}/{name}.*'}")
    layout.problems.extend(f"{path}: no image {layout.images.name}/{name}.*" for name, path in labels.items())


def _last(key: Callable[[str], str]) -> Callable[[str], str]:
    return lambda name: key(name.rpartition("/")[2])


def groups(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    """The names by their key."""
    found = defaultdict(list)
    for name in names:
        found[key(name)].append(name)
    return found


def _in_order(layout: Layout, images: dict[str, Path]) -> Layout:
    places = {name: place for place, name in enumerate(images)}
    return replace(layout, pairs=sorted(layout.pairs, key=lambda pair: places[pair.name]))


def side_by_side(folder: Path) -> Layout | None:
    """The layout of labels beside their images, `a.png` and `a_mask.png`; None if no file has such a partner."""
    layout = Layout(folder, folder)
    files = files_below(folder, LABEL_SUFFIXES)
    labels = [path for path in files if path.suffix.lower() in _LABELS_ONLY or is_marked(name_of(path, folder))]
    named = _by_name([path for path in files if path not in set(labels)], folder, layout.problems)
    _match(named, _by_name(labels, folder, layout.problems), layout, [(str, str), (image_key, label_key)])
    return _in_order(layout, named) if layout.pairs else None
