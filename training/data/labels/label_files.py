"""Label files: images of every accepted format, GIF, NumPy and MATLAB arrays.

Shape letters: H height, W width.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.images.channels import count_channels
from model.images.decoding import SUFFIXES, ImageFile, configure_decoders
from model.images.image_errors import broken
from model.images.tiff import decode_palette
from training.data.labels.array_files import decode_mat, decode_npy
from training.data.labels.stored_label import LabelError, StoredLabel, Values

POLYGON_SUFFIXES = (".geojson", ".json")
LABEL_SUFFIXES = (*SUFFIXES, ".gif", ".npy", ".mat", *POLYGON_SUFFIXES)

# Grey that was stored as RGB with lossy compression: its channels differ by less.
_COLOUR_NOISE = 48

Indexed: TypeAlias = tuple[NDArray[Any], NDArray[np.uint8] | None]
"""Pixels H x W as stored, and the colours N x 3 of their palette, or None if they are grey levels."""


def read_label_file(path: Path) -> list[StoredLabel]:
    """Every page of a label file; polygons are read by `training.data.labels.polygons`.

    Raises:
        ImageError: The file is damaged, or is of a format that is not accepted.
        LabelError: The values of the file cannot be label values.
        OSError: The file cannot be read.
    """
    read = _READERS.get(path.suffix.lower(), decode_label_image)
    return read(path.read_bytes())


def decode_label_image(data: bytes) -> list[StoredLabel]:
    """Every page of a label that is an image. Raises ImageError, LabelError."""
    if data.startswith(b"GIF8"):
        return [_of_palette_or_grey(*page) for page in _indexed_pages(data, "GIF")]
    file = ImageFile.read(data)
    header = file.header
    if header.channels:
        raise LabelError(
            f"a label of {count_channels(header.channels)}; one channel with a mask, ids or classes is expected, "
            "or RGB with --colours; save the channel as a file of its own, because --channel is only for images"
        )
    labels = []
    for grid, indexed in zip(file.stored_pages(), _palettes(file), strict=True):
        if indexed:
            labels.append(_of_palette_or_grey(*indexed))
        else:
            labels.append(StoredLabel.of_array(_single_channel(grid, header.lossy), header.lossy))
    return labels


def _palettes(file: ImageFile) -> Sequence[Indexed | None]:
    """The indices and the palette of each page; None for a page without a palette."""
    if file.header.stack:
        return decode_palette(file.header.stack)
    if file.header.format not in ("PNG", "BMP"):
        return [None]
    return [page if page[1] is not None else None for page in _indexed_pages(file.data, file.header.format)]


def _indexed_pages(data: bytes, kind: str) -> list[Indexed]:
    """The first picture of a file, as a list of one. Raises ImageError."""
    configure_decoders()
    try:
        with Image.open(BytesIO(data), formats=[kind]) as image:
            colours = np.reshape(image.getpalette() or [], (-1, 3)).astype(np.uint8)
            return [(np.array(image), colours) if image.mode == "P" else (np.array(image.convert("L")), None)]
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise broken(kind) from error


def _of_palette_or_grey(indices: NDArray[np.uint8], colours: NDArray[np.uint8] | None) -> StoredLabel:
    """The grey levels of a palette that was grey before; the indices of any other palette."""
    if colours is None:
        return StoredLabel(indices)
    table = np.zeros((max(256, len(colours)), 3), np.uint8)
    table[: len(colours)] = colours
    return StoredLabel(table[indices][:, :, 0]) if _is_grey(colours) else StoredLabel(indices, palette=table)


def _is_grey(colours: NDArray[Any]) -> bool:
    """True if a palette N x 3 is black and white, or the grey levels in order: the image was grey before."""
    if not len(colours) or (colours != colours[:, :1]).any():
        return False
    levels = colours[:, 0]
    return set(levels.tolist()) == {0, 255} or bool((levels == np.arange(len(levels))).all())


def _single_channel(pixels: NDArray[Any], lossy: str) -> Values:
    """H x W x C -> H x W if the channels are equal, else H x W x 3. Raises LabelError for varying transparency."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 4 and (pixels[:, :, 3] != pixels[0, 0, 3]).any():
        raise LabelError("a label of varying transparency; no alpha channel, or a constant one, is expected")
    colours = pixels[:, :, :3]
    if (colours == colours[:, :, :1]).all():
        return colours[:, :, 0]
    if not lossy:
        return colours
    if np.ptp(colours, axis=2).max() > _COLOUR_NOISE:
        raise LabelError(f"a label in colours; {lossy} blurs a label's values, PNG and TIFF keep them")
    return colours[:, :, 1]


_READERS: dict[str, Callable[[bytes], list[StoredLabel]]] = {".npy": decode_npy, ".mat": decode_mat}
