"""Images and their labels on disk: finding pairs, reading them, saying all that is wrong with them at once.

Layout: `DIR/image/*` with `DIR/label/*` of the same stem (`images` or `imgs`, `labels` or `masks` will do too). A
TIFF of several pages is a stack: its pages pair with the label's pages.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.folder import images_in
from model.image_errors import ImageError
from model.images import decode_pages
from model.preprocessing import Pixels
from training.label_scheme import MASKS, LabelScheme
from training.labels import Encoding, LabelError, LabelPage, decode_labels, read_label

Page = TypeVar("Page")

IMAGE_FOLDERS = ("image", "images", "imgs")
LABEL_FOLDERS = ("label", "labels", "masks")

# The class index of pixels that the label says nothing about: they count in no loss and in no score.
IGNORED = 255

LAYOUT = """expected layout:
  DIR/image/0.png 1.png ...   PNG, TIFF (stacks too), JPEG, BMP or WebP; 8 or 16 bits
  DIR/label/0.png 1.png ...   the same names and sizes; 255 (or 1) = foreground, 0 = background;
                              with --classes K: 0 to K-1
No data at hand? Make some and train on it:
  python -m training.synthetic --out data/train --count 24
  python -m training.run --data data/train --out runs/first"""


class DataError(ValueError):
    """Data that cannot be trained on; the message lists everything that is wrong."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its label.

    Attributes:
        name: The image's name without its suffix, with the page of a stack: "volume[2]".
        pixels: H x W or H x W x C, uint8 or uint16, channels in RGB order.
        label: H x W class indices; 0 is background, 1 the foreground of a single class, `IGNORED` an unlabelled pixel.
        label_file: The label's file name, "4.png", or "volume.tif[2]" for a page of a stack; "" if there is no file.
        encoding: How the label file stores the label; None if there is no file.
        ids: H x W object ids, 0 is background; None if the labels do not tell objects apart.
    """

    name: str
    pixels: Pixels
    label: NDArray[np.uint8]
    label_file: str = ""
    encoding: Encoding | None = None
    ids: NDArray[np.int32] | None = None

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


def load_samples(folder: Path, scheme: LabelScheme = MASKS) -> list[Sample]:
    """All pairs of a folder, in natural order (2 before 10). Raises DataError, which names every file at fault."""
    image_folder, label_folder = _find_folders(folder)
    problems: list[str] = []
    images, labels = _files(image_folder, problems), _files(label_folder, problems)
    problems += [f"{images[stem]}: no label {label_folder.name}/{stem}.*" for stem in images if stem not in labels]
    problems += [f"{labels[stem]}: no image {image_folder.name}/{stem}.*" for stem in labels if stem not in images]
    samples: list[Sample] = []
    for stem in images:
        if stem in labels:
            samples += _load_pair(stem, images[stem], labels[stem], scheme, problems)
    problems += _same_names(samples)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise DataError(f"{count} with the data in {folder}:\n  " + "\n  ".join(problems))
    if not samples:
        raise DataError(f"no images in {image_folder}\n{LAYOUT}")
    _check_sides(samples, label_folder, scheme.classes)
    return samples


def load_images(folder: Path, at_most: int) -> list[Pixels]:
    """Images alone, of a folder or of its image/; `at_most` files from all over it. Raises DataError."""
    inner = [folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()]
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    problems: list[str] = []
    files = list(_files((inner or [folder])[0], problems).values())
    if not files:
        raise DataError(f"no images in {(inner or [folder])[0]}")
    chosen = np.linspace(0, len(files) - 1, min(at_most, len(files))).round().astype(int)
    images = [page for index in chosen for page in _decode(files[index], decode_pages, problems)]
    if problems:
        raise DataError(f"problems with the images in {folder}:\n  " + "\n  ".join(problems))
    return images


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
    found = [(stem_of(path), path) for path in images_in(folder)]
    files = dict(found)
    problems += [f"{path}: {files[stem].name} has the same name" for stem, path in found if files[stem] != path]
    problems += [f"{str(path)!a}: its name is not in UTF-8" for _, path in found if not _is_text(path.name)]
    return files


def stem_of(path: Path) -> str:
    """Composed (NFC), for the same name with accents is other code points on a Mac."""
    return unicodedata.normalize("NFC", path.stem)


def _is_text(name: str) -> bool:
    """Whether a file's name can be written into logs and reports; Linux allows any bytes in them."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _load_pair(stem: str, image_file: Path, label_file: Path, scheme: LabelScheme, problems: list[str]) -> list[Sample]:
    """A sample a page, up to the first page that adds to the problems."""
    images, labels = _decode(image_file, decode_pages, problems), _decode(label_file, decode_labels, problems)
    if not images or not labels:
        return []
    if len(images) != len(labels):
        problems.append(f"{image_file}: {len(images)} page(s), its label {label_file.name} has {len(labels)}")
        return []
    samples = []
    for page, (pixels, stored) in enumerate(zip(images, labels, strict=True)):
        suffix = f"[{page}]" if len(images) > 1 else ""
        wrong = _misfit(pixels, stored, f"{image_file}{suffix}", f"{label_file.name}{suffix}")
        try:
            label, encoding = read_label(stored, scheme)
            samples.append(Sample(stem + suffix, pixels, label, label_file.name + suffix, encoding))
        except LabelError as error:
            wrong.append(f"{label_file}{suffix}: {error}")
        if wrong:
            problems += wrong
            break
    return samples


def _same_names(samples: list[Sample]) -> list[str]:
    """Problems with a page of a stack that is called as an image is, such as v[0]."""
    counts = Counter(sample.name for sample in samples)
    return [f"{name}: an image and a page of a stack have this name" for name in counts if counts[name] > 1]


def _decode(path: Path, decode: Callable[[bytes], list[Page]], problems: list[str]) -> list[Page]:
    """The file's pages; none, and one problem more, if it cannot be read."""
    try:
        return decode(path.read_bytes())
    except ImageError as error:
        problems.append(f"{path}: {error}")
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
    return []


def _misfit(pixels: Pixels, stored: LabelPage, image_name: str, label_name: str) -> list[str]:
    if pixels.shape[:2] == stored.pixels.shape[:2]:
        return []
    sizes = [f"{shape[1]} x {shape[0]}" for shape in (pixels.shape, stored.pixels.shape)]
    return [f"{image_name}: {sizes[0]} pixels, its label {label_name} has {sizes[1]}"]


def _check_sides(samples: list[Sample], label_folder: Path, classes: int) -> None:
    """Raises DataError if there is nothing to tell apart."""
    found = set[int]().union(*(np.unique(sample.label).tolist() for sample in samples))
    if len(found) > 1:
        return
    if classes > 1:
        raise DataError(f"the labels in {label_folder} have no class but {found.pop()}; pixels of others are expected")
    missing = "background" if found == {1} else "foreground"
    raise DataError(f"no label in {label_folder} has any {missing}; pixels of both kinds are expected")


def fingerprint(samples: list[Sample]) -> str:
    """Of the names, pixels and labels: images that changed, or labels read in another way, are others."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.name} {sample.pixels.shape} {sample.pixels.dtype}".encode())
        digest.update(np.ascontiguousarray(sample.pixels).data)
        digest.update(np.ascontiguousarray(sample.label).data)
    return digest.hexdigest()
