"""Reading the files of pairs: pixels of images, and values of labels before their kind is known.

Every problem becomes one line in a list, so that a message can name all files at fault at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from model.images.image_errors import ImageError
from model.inputs.preprocessing import Values
from training.data.image_reader import ImageReader
from training.data.labels.label_files import POLYGON_SUFFIXES, read_label_file
from training.data.labels.polygons import Mask, class_names, paint, read_geojson
from training.data.labels.stored_label import LabelError, StoredLabel
from training.data.matching import Layout, Pair

if TYPE_CHECKING:
    from training.data.folder import SampleStore

Page = TypeVar("Page")


@dataclass(frozen=True, eq=False)
class StoredPair:
    """One page of an image with the values of its label.

    Attributes:
        name: The image's name, with the page of a stack: "volume[2]".
        pixels: H x W or H x W x C, uint8 or uint16, or what the store returned for them.
        label: The values, H x W like the image.
        label_path: The label's file, or the folder with the files of its objects.
        label_name: A name of the label for people, unlike that of any other label.
        page: "[2]" for a page of a stack, else "".
        bits: Bits in use of 16, see `Sample`.
    """

    name: str
    pixels: Any
    label: StoredLabel
    label_path: Path
    label_name: str
    page: str
    bits: int


def read_pairs(layout: Layout, problems: list[str], store: "SampleStore", reader: ImageReader) -> list[StoredPair]:
    """The pages of all pairs whose files can be read; the others are added to the problems."""
    names = _class_names(layout.pairs)
    found: list[StoredPair] = []
    for pair in layout.pairs:
        read = _guarded(pair.image, reader.read_with_bits, problems)
        images = [pixels for pixels, _ in read]
        labels = _read_label(pair, names, images, problems)
        path = _label_path(pair)
        if not images or not labels:
            continue
        if len(images) != len(labels):
            problems.append(f"{pair.image}: {len(images)} page(s), its label {path.name} has {len(labels)}")
            continue
        for page, ((pixels, bits), stored) in enumerate(zip(read, labels, strict=True)):
            suffix = f"[{page}]" if len(images) > 1 else ""
            problems += _misfit(pixels, stored, f"{pair.image}{suffix}", f"{path.name}{suffix}")
            kept, label = store.put(pixels), store.pack(stored)
            found.append(StoredPair(pair.name + suffix, kept, label, path, _label_name(pair) + suffix, suffix, bits))
    return _on_one_scale(found, store)


def _on_one_scale(pairs: list[StoredPair], store: "SampleStore") -> list[StoredPair]:
    """Files of floats 0 and 1 beside files with fractions from 0 to 1 become grey levels, as those did."""
    if not any(pair.label.floats == "levels" for pair in pairs):
        return pairs
    return [
        replace(pair, label=store.pack(pair.label.as_levels)) if pair.label.floats == "whole" else pair
        for pair in pairs
    ]


def read_image(path: Path, reader: ImageReader, problems: list[str]) -> list[Values]:
    """The pages of an image; none, and one problem more, if it cannot be read."""
    return _guarded(path, reader.read, problems)


def _class_names(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """The classes that the GeoJSON labels of all pairs name; files that cannot be read name none."""
    files = [pair.labels[0] for pair in pairs if _has_polygons(pair)]
    found = [_guarded(path, lambda path: list(class_names([path])), []) for path in files]
    return tuple(sorted(set[str]().union(*found)))


def _has_polygons(pair: Pair) -> bool:
    return bool(pair.labels) and pair.labels[0].suffix.lower() in POLYGON_SUFFIXES


def _label_path(pair: Pair) -> Path:
    """The path that stands for a pair's label in messages: its file, or the folder of its objects' files."""
    if pair.coco:
        return pair.coco.path
    return pair.labels[0].parent if pair.per_object else pair.labels[0]


def _label_name(pair: Pair) -> str:
    """The label's file name below its folder; the image's name if the label is several files or a part of one."""
    if pair.coco or pair.per_object:
        return pair.name
    folder, slash, _ = pair.name.rpartition("/")
    return folder + slash + pair.labels[0].name


def _read_label(pair: Pair, names: Sequence[str], images: Sequence[Values], problems: list[str]) -> list[StoredLabel]:
    """The pages of a pair's label; none if it cannot be read, or if polygons lack an image that gives their size."""
    if pair.per_object:
        files = [_guarded(path, read_label_file, problems) for path in pair.labels]
        return _guarded(_label_path(pair), lambda _: [_combined(pair, files)], problems) if all(files) else []
    if not pair.coco and not _has_polygons(pair):
        return _guarded(pair.labels[0], read_label_file, problems)
    if not images:
        return []
    height, width = images[0].shape[:2]
    if coco := pair.coco:
        return _guarded(coco.path, lambda _: [coco.label(pair.coco_name, height, width)], problems)
    return _guarded(pair.labels[0], lambda path: [read_geojson(path, height, width, names)], problems)


def _combined(pair: Pair, files: Sequence[Sequence[StoredLabel]]) -> StoredLabel:
    """One label of the files of its objects. Raises LabelError for files of several pages, colours or sizes."""
    masks = [_object_mask(path, pages) for path, pages in zip(pair.labels, files, strict=True)]
    for path, mask in zip(pair.labels, masks, strict=True):
        if mask.shape != masks[0].shape:
            raise LabelError(f"{path.name} differs in size from {pair.labels[0].name}")
    return paint(masks, masks[0].shape)


def _object_mask(path: Path, pages: Sequence[StoredLabel]) -> Mask:
    """H x W bool, True above half of the highest value. Raises LabelError."""
    if len(pages) != 1 or pages[0].in_colours:
        raise LabelError(f"{path.name}: one page without colours is expected for each object")
    values = pages[0].values
    mask: Mask = values > values.max(initial=0) / 2
    return mask


def _misfit(pixels: Values, stored: StoredLabel, image_name: str, label_name: str) -> list[str]:
    if pixels.shape[:2] == stored.values.shape[:2]:
        return []
    sizes = [f"{shape[1]} x {shape[0]}" for shape in (pixels.shape, stored.values.shape)]
    return [f"{image_name}: {sizes[0]} pixels, its label {label_name} has {sizes[1]}"]


def _guarded(path: Path, read: Callable[[Path], list[Page]], problems: list[str]) -> list[Page]:
    """Returns the result of `read` for a path, or None after adding a problem."""
    try:
        return read(path)
    except (ImageError, LabelError) as error:
        problems.append(f"{path}: {error}")
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
    return []
