"""Labelled images of a data folder, and everything that is wrong with them in one message.

`pairing` finds the files. In `labels/`, `label_files` and `polygons` read them, `recognition` decides what the labels
are, and `labels` turns them into class indices.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.images.decoding import SUFFIXES
from model.inputs.preprocessing import Values
from model.outputs.objects import Ids, find_regions
from training.data.archive import data_folder
from training.data.image_reader import ImageReader
from training.data.labels.label_scheme import AUTO, LabelScheme
from training.data.labels.label_scheme import IGNORED as IGNORED
from training.data.labels.labels import Encoding, Label, read_label
from training.data.labels.recognition import resolve, resolve_folders
from training.data.labels.stored_label import LabelError, StoredLabel
from training.data.names import files_below, is_text, listed_paths
from training.data.pair_files import StoredPair, read_image, read_pairs
from training.data.pairing import LAYOUT, image_folder
from training.data.sources import Source, open_sources, schemes_of_saved
from training.data_error import DataError

Made = TypeVar("Made")

_PROBLEMS_SHOWN = 40


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its label.

    Attributes:
        name: The image's path below its folder, without suffix; with the page of a stack: "volume[2]".
        pixels: H x W or H x W x C, uint8 or uint16, channels in RGB order.
        label: H x W class indices; 0 is background, 1 the foreground of a single class, `IGNORED` an unlabelled pixel.
        label_file: The label's file name, "4.png", or "volume.tif[2]" for a page of a stack; the image's name if the
            label is several files; "" if there is no file.
        encoding: How the label file stores the label; None if there is no file.
        ids: H x W object ids, 0 is background; None if the labels do not tell objects apart.
        source: Name of the folder that it comes from, which is the first part of `name`; "" if there is only one.
        bits: Bits in use of 16, of all pages of the image's file; 0 to look at the pixels. See `Preprocessing.affine`.
    """

    name: str
    pixels: Values
    label: NDArray[np.uint8]
    label_file: str = ""
    encoding: Encoding | None = None
    ids: NDArray[np.int32] | None = None
    source: str = ""
    bits: int = 0
    _made: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, make: Callable[..., Made], *arguments: Hashable) -> Made:
        """Returns `make(self, *arguments)`, computed at the first call and kept with the sample."""
        key = (make, *arguments)
        if key not in self._made:
            self._made[key] = make(self, *arguments)
        made: Made = self._made[key]
        return made

    @property
    def name_in_source(self) -> str:
        """The name without the name of the folder that it comes from."""
        return self.name.removeprefix(f"{self.source}/") if self.source else self.name

    @property
    def foreground(self) -> NDArray[np.bool_]:
        """H x W bool, True where the label names any class except 0, the background."""
        foreground: NDArray[np.bool_] = (self.label > 0) & (self.label != IGNORED)
        return foreground

    @property
    def counted(self) -> NDArray[np.bool_]:
        """H x W bool, True where the label says what the pixel is, False where it is `IGNORED`."""
        counted: NDArray[np.bool_] = self.label != IGNORED
        return counted


class SampleStore:
    """Makes samples, and keeps their arrays in memory; `ImageCache` limits the memory."""

    def put(self, array: Values) -> Any:
        """Returns the array, or what `sample` takes in its place."""
        return array

    def pack(self, label: StoredLabel) -> StoredLabel:
        """Returns the label, or a label of the same values that takes less memory until it is read."""
        return label

    def sample(self, name: str, pixels: Any, label: Label, label_file: str, source: str = "", bits: int = 0) -> Sample:
        """Returns a sample with pixels from `put`."""
        return Sample(name, pixels, label.classes, label_file, label.encoding, label.ids, source, bits)


IN_MEMORY = SampleStore()


@dataclass(frozen=True)
class LabelledData:
    """The samples of a folder, or of several.

    Attributes:
        samples: At least one, in natural order of their names (2 before 10), folder by folder.
        scheme: How the labels were read, with nothing left open; of several folders, those that the service did not
            save.
        notes: Choices that a reader should know of, one line each.
    """

    samples: list[Sample]
    scheme: LabelScheme
    notes: tuple[str, ...] = ()


def load_data(
    data: Path | Sequence[Path],
    scheme: LabelScheme = AUTO,
    store: SampleStore = IN_MEMORY,
    reader: ImageReader | None = None,
) -> LabelledData:
    """All images of one or several folders, or ZIPs of folders, with their labels.

    If several folders have the same image, the sample of the last folder counts.

    Args:
        data: Folders in any layout that `training.data.pairing` knows, or ZIP files of them.
        scheme: How to read the labels; what it leaves open is found from all labels together. Folders that the service
            saved say how their labels are read.
        store: Where the arrays are kept.
        reader: What reads the images; None for a reader of the first channel.

    Raises:
        DataError: Some files do not fit; the message names each of them.
    """
    with open_sources((data,) if isinstance(data, Path) else data) as sources:
        return _load(sources, scheme, store, reader or ImageReader())


def _load(sources: Sequence[Source], scheme: LabelScheme, store: SampleStore, reader: ImageReader) -> LabelledData:
    """Raises DataError."""
    problems = [problem for source in sources for problem in source.layout.problems]
    stored = [read_pairs(source.layout, problems, store, reader) for source in sources]
    notes = [note for source in sources for note in source.layout.notes]
    labels = listed_paths([source.layout.labels for source in sources])
    samples: list[Sample] = []
    try:
        scheme, schemes = _resolve(sources, stored, scheme)
        for source, pairs, each in zip(sources, stored, schemes, strict=True):
            read = _with_regions(pairs, source.masks, store) if each.format == "instances" else pairs
            samples += _samples(read, each, problems, store, source.name)
    except LabelError as error:
        problems.append(f"{labels}: {error}")
    problems += _same_names(samples)
    if problems:
        raise DataError(_listed(problems, f"with the data in {listed_paths([source.path for source in sources])}"))
    if missing := [source.layout.images for source, pairs in zip(sources, stored, strict=True) if not pairs]:
        raise DataError(f"no images in {listed_paths(missing)}\n{LAYOUT}")
    if len(sources) > 1:
        samples = _newest(samples, notes)
    _check_sides(samples, labels, scheme)
    return LabelledData(samples, scheme, (*notes, *reader.notes()))


def _resolve(
    sources: Sequence[Source], stored: Sequence[list[StoredPair]], scheme: LabelScheme
) -> tuple[LabelScheme, list[LabelScheme]]:
    """The scheme of the labels, and that of each source. Raises DataError, LabelError."""
    ordinary = {
        source.name: [pair.label for pair in pairs]
        for source, pairs in zip(sources, stored, strict=True)
        if not source.saved and pairs
    }
    if ordinary:
        found, by_name = resolve_folders(ordinary, scheme)
        saved = schemes_of_saved(sources, found)
        return found, [by_name.get(source.name, each) for source, each in zip(sources, saved, strict=True)]
    if scheme == AUTO and (saved := [source.saved for source in sources if source.saved]):
        scheme = max(saved, key=lambda each: (each.classes, each.format == "instances"))
        scheme = schemes_of_saved(sources, scheme)[0] if len(sources) > 1 else scheme
    elif scheme.format != "auto" and all(source.saved for source in sources):
        return scheme, schemes_of_saved(sources, scheme)
    found = resolve([pair.label for pairs in stored for pair in pairs], scheme)
    return found, [found] * len(sources)


def _newest(samples: list[Sample], notes: list[str]) -> list[Sample]:
    """Leaves out images that a later folder has also."""
    kept, known = list[Sample](), dict[str, str]()
    for sample in reversed(samples):
        if known.setdefault(pixel_digest(sample), sample.source) == sample.source:
            kept.append(sample)
    if left := len(samples) - len(kept):
        notes.append(f"{left} image(s) are in several folders; the labels of the last of these folders are used")
    return kept[::-1]


def load_samples(
    data: Path | Sequence[Path],
    scheme: LabelScheme = AUTO,
    store: SampleStore = IN_MEMORY,
    reader: ImageReader | None = None,
) -> list[Sample]:
    """The samples of `load_data`. Raises DataError."""
    return load_data(data, scheme, store, reader).samples


def load_images(folder: Path, at_most: int, reader: ImageReader) -> list[Values]:
    """Images without labels, from a folder or its image folder.

    Args:
        folder: The folder, or a ZIP of it.
        at_most: The number of files to read, from all over the folder.
        reader: What reads the images.

    Raises:
        DataError: The folder has no images, or some cannot be read.
    """
    with data_folder(folder) as unpacked:
        return _load_images(unpacked, at_most, reader)


def _load_images(folder: Path, at_most: int, reader: ImageReader) -> list[Values]:
    """Raises DataError."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    inner = image_folder(folder)
    problems: list[str] = []
    files = files_below(inner, SUFFIXES)
    problems += [f"{str(path)!a}: its name is not in UTF-8" for path in files if not is_text(path.name)]
    if not files:
        raise DataError(f"no images in {inner}")
    chosen = np.linspace(0, len(files) - 1, min(at_most, len(files))).round().astype(int)
    images = [page for index in chosen for page in read_image(files[index], reader, problems)]
    if problems:
        raise DataError(_listed(problems, f"with the images in {folder}"))
    return images


def fingerprint(samples: list[Sample]) -> str:
    """A digest of names, pixels and labels; it changes with the images and with the way that labels are read."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.name} {sample.pixels.shape} {sample.pixels.dtype}".encode())
        digest.update(np.ascontiguousarray(sample.pixels).data)
        digest.update(np.ascontiguousarray(sample.label).data)
    return digest.hexdigest()


def pixel_digest(sample: Sample) -> str:
    """A digest of the image; samples of the same image with other names or labels have the same."""
    pixels = sample.pixels
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _samples(
    stored: list[StoredPair], scheme: LabelScheme, problems: list[str], store: SampleStore, source: str
) -> list[Sample]:
    """The samples of one scheme; labels that do not fit the scheme are added to the problems."""
    samples = []
    faulty: set[Path] = set()
    for pair in stored:
        try:
            label = read_label(pair.label, scheme)
        except LabelError as error:
            if pair.label_path not in faulty:  # one problem per file, however many pages it has
                problems.append(f"{pair.label_path}{pair.page}: {error}")
            faulty.add(pair.label_path)
            continue
        samples.append(store.sample(pair.name, pair.pixels, label, pair.label_name, source, pair.bits))
    return samples


def _with_regions(pairs: list[StoredPair], masks: frozenset[str], store: SampleStore) -> list[StoredPair]:
    """Numbers the objects of saved masks that are read as ids: their connected regions, as the service counts them."""
    return [
        replace(pair, label=store.pack(StoredLabel(_regions(pair.label), 32)))
        if pair.label_path.stem in masks
        else pair
        for pair in pairs
    ]


def _regions(label: StoredLabel) -> Ids:
    return find_regions((label.values > 0).astype(np.uint8))


def _same_names(samples: list[Sample]) -> list[str]:
    """Problems with samples of one name: a page of a stack and an image such as "v[0]", or two folders alike."""
    counts = Counter(sample.name for sample in samples)
    return [f"{name}: {count} images have this name; rename one of them" for name, count in counts.items() if count > 1]


def _listed(problems: list[str], where: str) -> str:
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    more = [f"and {len(problems) - _PROBLEMS_SHOWN} more"] if len(problems) > _PROBLEMS_SHOWN else []
    return f"{count} {where}:\n  " + "\n  ".join(problems[:_PROBLEMS_SHOWN] + more)


def _check_sides(samples: list[Sample], labels: str, scheme: LabelScheme) -> None:
    """Raises DataError if all labels together have a single class, or none."""
    found = set[int]().union(*(np.unique(sample.label).tolist() for sample in samples)) - {IGNORED}
    if len(found) > 1:
        return
    if not found:
        raise DataError(f"all pixels of the labels in {labels} are ignored; labelled pixels are expected")
    if scheme.classes > 1:
        raise DataError(f"the labels in {labels} have no class but {found.pop()}; pixels of others are expected")
    missing = "background" if found == {1} else "foreground"
    raise DataError(f"no label in {labels} has any {missing}; pixels of both kinds are expected")
