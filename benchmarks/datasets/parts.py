"""The training and test parts of a set as folders, so that a trainer sees only its own part."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.datasets.sets import IMAGES, LABELS, ImageSet, Pair
from benchmarks.datasets.truth import Task, read_truths
from model.images.decoding import decode_image
from model.images.encoding import encode_png
from model.inputs.preprocessing import Pixels, Values
from training.data.folder import IGNORED


@dataclass(frozen=True)
class Parts:
    """Folders of one set.

    Attributes:
        training: `image/` and `label/` with the training files as published.
        test: The test images as published, without labels.
        peer_training: `image/` (PNG, grey or RGB) and `label/` (PNG of class indices, void being the last class).
        peer_test: The test images in the form of `peer_training`.
        classes: Number of classes in `peer_training`, the background included; 2 for foreground and background.
    """

    training: Path
    test: Path
    peer_training: Path
    peer_test: Path
    classes: int


def write_parts(folder: Path, images: ImageSet, task: Task) -> Parts:
    """Writes the parts of a set into an empty folder: links for our own trainer, converted copies for its peers."""
    parts = Parts(
        training=folder / "training",
        test=folder / "test",
        peer_training=folder / "peer-training",
        peer_test=folder / "peer-test",
        classes=task.classes,
    )
    for pair in images.training:
        _link(pair.image, parts.training / IMAGES)
        _link(pair.label, parts.training / LABELS)
    for pair in images.test:
        _link(pair.image, parts.test)
    coloured = any(_is_coloured(decode_image(pair.image.read_bytes())) for pair in images.training)
    _write_images(parts.peer_training / IMAGES, images.training, coloured=coloured)
    _write_images(parts.peer_test, images.test, coloured=coloured)
    for truth in read_truths(images, images.training, task):
        label = np.where(truth.label == IGNORED, task.classes - 1, truth.label).astype(np.uint8)
        _write(parts.peer_training / LABELS / f"{truth.name}.png", label)
    return parts


def _link(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file.name).symlink_to(file.resolve())


def _write_images(folder: Path, pairs: Sequence[Pair], *, coloured: bool) -> None:
    for pair in pairs:
        _write(folder / f"{pair.name}.png", _arranged(decode_image(pair.image.read_bytes()), coloured=coloured))


def _write(path: Path, pixels: Values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(cast(Pixels, pixels)))


def _arranged(pixels: Values, *, coloured: bool) -> Values:
    """H x W or H x W x C -> H x W x 3 if `coloured`, else H x W; an alpha channel is dropped."""
    if not coloured:
        return pixels if pixels.ndim == 2 else pixels[:, :, 0]
    return cast(Values, np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels[:, :, :3])


def _is_coloured(pixels: Values) -> bool:
    return pixels.ndim == 3 and bool((pixels[:, :, :1] != pixels[:, :, 1:3]).any())
