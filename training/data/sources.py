"""The data of a command: one folder or ZIP, or several that are trained on together."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from training.data.archive import data_folder
from training.data.labels.label_scheme import LabelScheme
from training.data.matching import Layout
from training.data.pairing import find_pairs
from training.data.saved_labels import saved_for_other_classes, saved_masks, saved_scheme
from training.data_error import DataError


@dataclass(frozen=True)
class Source:
    """A folder with its pairs.

    Attributes:
        name: First part of the samples' names; "" if it is the only source.
        path: The folder or the ZIP, as the user named it.
        layout: The pairs.
        saved: How the labels are read if the service saved them; None for other folders.
        masks: Names of the label files, without suffix, that the service saved as masks.
    """

    name: str
    path: Path
    layout: Layout
    saved: LabelScheme | None
    masks: frozenset[str] = frozenset()


@contextmanager
def open_sources(paths: Sequence[Path]) -> Iterator[list[Source]]:
    """Yields the sources, whose files can be read within the block. Raises DataError."""
    with ExitStack() as stack:
        yield [
            _source(name, path, stack.enter_context(data_folder(path)))
            for name, path in zip(_names(paths), paths, strict=True)
        ]


def _source(name: str, path: Path, folder: Path) -> Source:
    layout = find_pairs(folder)
    saved = saved_scheme(layout.images.parent)
    if saved:
        layout = _of_one_net(layout, saved.classes)
    if name:
        named = [replace(pair, name=f"{name}/{pair.name}") for pair in layout.pairs]
        layout = replace(layout, pairs=named, notes=[f"{name}: {note}" for note in layout.notes])
    return Source(name, path, layout, saved, saved_masks(layout.images.parent))


def _of_one_net(layout: Layout, classes: int) -> Layout:
    """Without the labels that were saved for nets of another number of classes; a note counts them."""
    others = saved_for_other_classes(layout.images.parent, classes)
    pairs = [pair for pair in layout.pairs if not pair.labels or pair.labels[0].stem not in others]
    if not (left := len(layout.pairs) - len(pairs)):
        return layout
    note = f"{left} label(s) were saved for nets of another number of classes than {classes}; they are left out"
    return replace(layout, pairs=pairs, notes=[*layout.notes, note])


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the folders and ZIPs, made distinct by numbers. Raises DataError for a path that is given twice."""
    if len(paths) == 1:
        return [""]
    resolved = [path.resolve() for path in paths]
    if twice := [path for path, place in zip(paths, resolved, strict=True) if resolved.count(place) > 1]:
        raise DataError(f"--data {twice[0]} is given twice")
    names = list[str]()
    for path in resolved:
        stem = (path.stem if path.suffix.lower() == ".zip" else path.name) or "data"
        candidates = (stem if number == 1 else f"{stem}-{number}" for number in range(1, len(paths) + 1))
        names.append(next(name for name in candidates if name not in names))
    return names


def schemes_of_saved(sources: Sequence[Source], found: LabelScheme) -> list[LabelScheme]:
    """Returns the scheme of each source, if the labels of the ordinary sources have the scheme `found`.

    Labels that the service saved have values of their own: foreground is above 0, whatever the values of the other
    labels are.

    Raises:
        DataError: The saved labels have another number of classes.
    """
    schemes = list[LabelScheme]()
    for source in sources:
        if source.saved is None:
            schemes.append(found)
            continue
        if source.saved.classes != found.classes:
            raise DataError(
                f"the labels in {source.path} have {source.saved.classes} class(es), those of the other folders "
                f"{found.classes}; --label-format says how the labels of the other folders are read"
            )
        schemes.append(_read_like(found))
    return schemes


def _read_like(found: LabelScheme) -> LabelScheme:
    """The scheme of saved labels beside labels of another scheme."""
    if found.classes > 1:
        return LabelScheme("classes", found.classes, names=found.names)
    return LabelScheme("instances") if found.format == "instances" else LabelScheme("mask", threshold=0.0)
