"""Layouts of data folders: where the images and the labels are."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from model.images.decoding import SUFFIXES
from model.predict.inputs import in_natural_order
from training.data.labels.label_files import LABEL_SUFFIXES, POLYGON_SUFFIXES
from training.data.labels.polygons import Coco, read_coco
from training.data.labels.stored_label import LabelError
from training.data.matching import Layout, Pair, groups, side_by_side, two_folders
from training.data.names import files_below, image_key, label_key, name_of
from training.data_error import DataError

# Folder names in lower case, without spaces, dots, "-" and "_". If a folder has several of them, the first is read.
IMAGE_FOLDERS = ("image", "images", "imgs", "img", "original", "originals", "trainimages", "train")
LABEL_FOLDERS = (
    *("label", "labels", "1stmanual", "manual", "manual1", "groundtruth", "gt", "annotation", "annotations"),
    *("segmentation", "segmentations", "instances", "masks", "mask", "trainlabels", "trainmasks", "trainannot"),
)
_TRAINING, _OTHER_PARTS = ("training", "train"), ("validation", "val", "valid", "test", "testing")


LAYOUT = """expected layout:
  DIR/image/0.png 1.png ...   PNG, TIFF (stacks too), JPEG, BMP or WebP; 8 or 16 bits
  DIR/label/0.png 1.png ...   the same names and sizes; masks, ids of objects, or classes
Other layouts and label files: docs/labels.md.
No data yet? Generate some and train on it:
  python -m training.synthetic --out data/train --count 24
  python -m training.run --data data/train --out runs/first"""


def find_pairs(folder: Path) -> Layout:
    """The pairs of a data folder in any accepted layout. Raises DataError if there is no such layout."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}\n{LAYOUT}")
    for layout_of in (_direct, _in_subfolders, _beside):
        if layout := layout_of(folder):
            return layout
    missing = "label" if _named(folder, IMAGE_FOLDERS) else "image"
    raise DataError(f"no folder {folder / missing}\n{LAYOUT}")


def _beside(folder: Path) -> Layout | None:
    """The layout of labels beside their images, in the folder or in its image folder."""
    return side_by_side(image_folder(folder))


def image_folder(folder: Path) -> Path:
    """The folder with the images of a data folder: a subfolder with a known name, or the folder itself."""
    return (_named(folder, IMAGE_FOLDERS) or [folder])[0]


def _direct(folder: Path) -> Layout | None:
    """The layout of two subfolders, or of a COCO annotation file with its images."""
    images, labels = _named(folder, IMAGE_FOLDERS), _named(folder, LABEL_FOLDERS)
    if images and labels and (_has_other_than_json(labels[0]) or not any(labels[0].iterdir())):
        return two_folders(images[0], labels)
    root = (images or [folder])[0]
    if coco := _find_coco([folder, *labels[:1], *images[:1]]):
        return _of_coco(coco, root if images else folder)
    return two_folders(images[0], labels) if images and labels else None


def _named(folder: Path, names: Sequence[str]) -> list[Path]:
    """The subfolders with one of the names, in the order of the names."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = re.sub(r"[\s_.-]+", "", path.name.casefold())
        if name in names and path.is_dir() and not path.name.startswith("."):
            found.setdefault(name, path)
    return sorted(found.values(), key=lambda path: names.index(re.sub(r"[\s_.-]+", "", path.name.casefold())))


def _has_other_than_json(folder: Path) -> bool:
    return any(path.suffix.lower() not in POLYGON_SUFFIXES for path in files_below(folder, LABEL_SUFFIXES))


def _find_coco(folders: Iterable[Path]) -> Coco | None:
    """The COCO annotations in one of the folders. Raises DataError for several files of them."""
    for folder in folders:
        found = [coco for path in sorted(folder.glob("*.json")) if (coco := _read_coco(path))]
        if len(found) > 1:
            names = ", ".join(coco.path.name for coco in found)
            raise DataError(f"{folder} has several COCO annotation files, {names}; keep one of them there")
        if found:
            return found[0]
    return None


def _read_coco(path: Path) -> Coco | None:
    try:
        return read_coco(path)
    except LabelError as error:
        raise DataError(f"{path}: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _of_coco(coco: Coco, folder: Path) -> Layout:
    """The layout of the images that a COCO file lists."""
    layout = Layout(folder, coco.path)
    files = files_below(folder, SUFFIXES)
    by_file_name = groups(map(str, files), lambda path: Path(path).name)
    for file_name in coco.images:
        alike = by_file_name.get(Path(file_name).name, [])
        fitting = [str(folder / file_name)] if str(folder / file_name) in alike else alike
        if len(fitting) == 1:
            path = Path(fitting[0])
            layout.pairs.append(Pair(name_of(path, folder), path, coco=coco, coco_name=file_name))
        else:
            layout.problems.append(f"{coco.path}: no image {file_name} in {folder}")
    if unlisted := len(files) - len({pair.image for pair in layout.pairs}):
        layout.notes.append(f"{unlisted} images that {coco.path.name} does not list are not used")
    places = {path: place for place, path in enumerate(files)}
    return replace(layout, pairs=sorted(layout.pairs, key=lambda pair: places.get(pair.image, len(places))))


def _in_subfolders(folder: Path) -> Layout | None:
    """The layout of subfolders that each hold images and labels: one per image, patient or part of the data set."""
    inner = [path for path in in_natural_order(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    found = [path for path in inner if _named(path, IMAGE_FOLDERS) and _named(path, LABEL_FOLDERS)]
    parts = [path for path in found if path.name.casefold() in (*_TRAINING, *_OTHER_PARTS)]
    training = [path for path in parts if path.name.casefold() in _TRAINING]
    if (len(found) == 1 and not _of_one_image(found[0])) or len(training) == 1:
        chosen = (training or found)[0]
        layout = _direct(chosen)
        if layout and len(found) > 1:
            others = ", ".join(path.name for path in found if path != chosen)
            layout.notes.append(f"images are read from {chosen.name}; {others} is not used")
        return layout
    if parts:
        names = ", ".join(path.name for path in found)
        raise DataError(f"several folders in {folder} hold images and labels: {names}; name one of them with --data")
    return _merged(folder, found) if found else None


def _of_one_image(folder: Path) -> tuple[Path, tuple[Path, ...]] | None:
    """(image, files of its objects) of a folder `ID/images/ID.png`, `ID/masks/*.png`; None for other folders."""
    images = files_below(_named(folder, IMAGE_FOLDERS)[0], SUFFIXES)
    masks = files_below(_named(folder, LABEL_FOLDERS)[0], LABEL_SUFFIXES)
    paired = len(masks) == 1 and image_key(images[0].stem) == label_key(masks[0].stem) if images else False
    return (images[0], tuple(masks)) if len(images) == 1 and masks and not paired else None


def _merged(folder: Path, inner: Sequence[Path]) -> Layout:
    """One layout of several subfolders; the subfolder's name is the first part of the samples' names."""
    layout = Layout(folder, folder)
    for path in inner:
        if single := _of_one_image(path):
            layout.pairs.append(Pair(path.name, single[0], single[1], per_object=True))
        elif part := _direct(path):
            layout.pairs.extend(replace(pair, name=f"{path.name}/{pair.name}") for pair in part.pairs)
            layout.problems.extend(part.problems)
            layout.notes.extend(note for note in part.notes if note not in layout.notes)
    return layout
