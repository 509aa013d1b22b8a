"""Images and their labels on disk: finding pairs, reading them, saying all that is wrong with them at once.

Layout: `DIR/image/*` with `DIR/label/*` of the same stem (`images` or `imgs`, `labels` or `masks` will do too). A
TIFF of several pages is a stack: its pages pair with the label's pages.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.images import SUFFIXES, ImageError, decode_pages
from model.preprocessing import Pixels

IMAGE_FOLDERS = ("image", "images", "imgs")
LABEL_FOLDERS = ("label", "labels", "masks")

LAYOUT = """expected layout:
  DIR/image/0.png 1.png ...   PNG, TIFF (stacks too), JPEG, BMP or WebP; 8 or 16 bits
  DIR/label/0.png 1.png ...   the same names and sizes; 255 (or 1) = foreground, 0 = background
No data at hand? Make some and train on it:
  python -m training.synthetic --out data/train --count 24
  python -m training.run --data data/train --out runs/first"""


class DataError(ValueError):
    """Data that cannot be trained on; the message lists everything that is wrong."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its label: pixels H x W or H x W x C, and H x W bool, True = foreground."""

    name: str
    pixels: Pixels
    label: NDArray[np.bool_]


def load_samples(folder: Path) -> list[Sample]:
    """All pairs of a folder, in natural order (2 before 10). Raises DataError, which names every file at fault."""
    image_folder, label_folder = _find_folders(folder)
    problems: list[str] = []
    images, labels = _files(image_folder, problems), _files(label_folder, problems)
    problems += [f"{images[stem]}: no label {label_folder.name}/{stem}.*" for stem in images if stem not in labels]
    problems += [f"{labels[stem]}: no image {image_folder.name}/{stem}.*" for stem in labels if stem not in images]
    samples: list[Sample] = []
    for stem in images:
        if stem in labels:
            try:
                samples += _pair(images[stem], labels[stem])
            except DataError as error:
                problems.append(str(error))
    if problems:
        raise DataError(f"{len(problems)} problems with the data in {folder}:\n  " + "\n  ".join(problems))
    if not samples:
        raise DataError(f"no images in {image_folder}\n{LAYOUT}")
    return samples


def split_samples(samples: list[Sample], fraction: float) -> tuple[list[Sample], list[Sample]]:
    """(training, validation): the last `fraction` in one piece, since neighbouring sections show the same cells.

    At least one of each unless `fraction` is 0. Raises DataError if there are too few.
    """
    if not fraction:
        return samples, []
    held_out = max(1, round(len(samples) * fraction))
    if held_out >= len(samples):
        raise DataError(
            f"{len(samples)} image(s) are too few to hold out {fraction:.0%}; give more, or --val-fraction 0"
        )
    return samples[:-held_out], samples[-held_out:]


def _find_folders(folder: Path) -> tuple[Path, Path]:
    found = []
    for names in (IMAGE_FOLDERS, LABEL_FOLDERS):
        there = [folder / name for name in names if (folder / name).is_dir()]
        if not there:
            raise DataError(f"no folder {folder / names[0]}\n{LAYOUT}")
        found.append(there[0])
    return found[0], found[1]


def _files(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Files by stem, in natural order; a second file of one stem is added to the problems."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    found.sort(key=lambda path: (_natural(path.stem), path.suffix))
    files = {path.stem: path for path in found}
    problems += [f"{path}: {files[path.stem].name} has the same name" for path in found if files[path.stem] != path]
    return files


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _pair(image_file: Path, label_file: Path) -> Iterator[Sample]:
    images, labels = _read(image_file), _read(label_file)
    if len(images) != len(labels):
        raise DataError(f"{image_file}: {len(images)} pages, its label has {len(labels)}")
    samples = []
    for page, (pixels, stored) in enumerate(zip(images, labels, strict=True)):
        name = image_file.stem if len(images) == 1 else f"{image_file.stem}[{page}]"
        if pixels.shape[:2] != stored.shape[:2]:
            sizes = [f"{shape[1]} x {shape[0]}" for shape in (pixels.shape, stored.shape)]
            raise DataError(f"{image_file}: {sizes[0]} pixels, its label {label_file.name} has {sizes[1]}")
        samples.append(Sample(name, pixels, _foreground(stored, label_file)))
    return iter(samples)


def _read(path: Path) -> list[Pixels]:
    try:
        return decode_pages(path.read_bytes())
    except (ImageError, OSError) as error:
        raise DataError(f"{path}: {error}") from error


def _foreground(stored: Pixels, path: Path) -> NDArray[np.bool_]:
    """H x W bool from a label file's pixels. Raises DataError unless they are 0/255 (0/65535) or 0/1."""
    grey = stored if stored.ndim == 2 else stored[:, :, 0]
    if stored.ndim == 3 and any((stored[:, :, channel] != grey).any() for channel in (1, 2)):
        raise DataError(f"{path}: a label in colours; 0 and 255 (or 0 and 1) are expected")
    values = np.unique(grey)
    foreground = values[-1]
    if len(values) > 2 or (len(values) == 2 and values[0] != 0) or foreground not in (0, 1, 255, 65535):
        shown = ", ".join(map(str, values[:6])) + (", ..." if len(values) > 6 else "")
        raise DataError(f"{path}: a label with the values {shown}; 0 and 255 (or 0 and 1) are expected")
    return grey > 0
