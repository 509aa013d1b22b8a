"""Label files: images of every accepted format, GIF, NumPy and MATLAB arrays.

Shape letters: H height, W width.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.images.decoding import SUFFIXES, ImageFile, configure_decoders
from model.images.image_errors import ImageError, UnsupportedImage, broken
from model.preprocessing import Pixels
from training.data.labels.array_files import decode_mat, decode_npy
from training.data.labels.stored_label import LabelError, StoredLabel, Values, whole_numbers

POLYGON_SUFFIXES = (".geojson", ".json")
LABEL_SUFFIXES = (*SUFFIXES, ".gif", ".npy", ".mat", *POLYGON_SUFFIXES)

# Grey that was stored as RGB with lossy compression: its channels differ by less.
_COLOUR_NOISE = 48

_TIFF = (b"II*\0", b"MM\0*")


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
        return [_of_palette_or_grey(*page) for page in _indexed_pages(data, "GIF", 1)]
    try:
        file = ImageFile.read(data)
    except UnsupportedImage as refused:
        return _decode_deep_tiff(data, refused)
    header, pixels = file.header, file.pages()
    has_palette = header.format in ("PNG", "TIFF", "BMP")
    indexed = _indexed_pages(data, header.format, len(pixels)) if has_palette else []
    labels = []
    for page, grid in enumerate(pixels):
        if indexed and indexed[page][1] is not None:
            labels.append(_of_palette_or_grey(*indexed[page]))
        else:
            labels.append(StoredLabel(_single_channel(grid, header.lossy), 8 * grid.itemsize, lossy=header.lossy))
    return labels


def _decode_deep_tiff(data: bytes, refused: UnsupportedImage) -> list[StoredLabel]:
    """The pages of a one-channel TIFF of a type that images must not have: int16, 32 or 64 bits, floats.

    Raises `refused`, the reason why the file is no image, for any other file; ImageError for a damaged one.
    """
    if not data.startswith(_TIFF):
        raise refused
    configure_decoders()
    try:
        decoded, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        decoded, pages = False, ()
    if not decoded:
        raise ImageError(f"The TIFF file is damaged, or is of a kind that is not accepted. {refused}") from refused
    if not all(page.ndim == 2 and page.dtype.itemsize > 1 for page in pages):
        raise refused
    return [StoredLabel(whole_numbers(page), 8 * page.itemsize) for page in pages]


def _indexed_pages(data: bytes, kind: str, pages: int) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8] | None]]:
    """(pixels as stored, colours N x 3 of the palette or None for no palette) of each page. Raises ImageError."""
    configure_decoders()
    found: list[tuple[NDArray[np.uint8], NDArray[np.uint8] | None]] = []
    try:
        with Image.open(BytesIO(data), formats=[kind]) as image:
            for page in range(pages):
                image.seek(page)
                colours = np.reshape(image.getpalette() or [], (-1, 3)).astype(np.uint8)
                found.append((np.array(image), colours) if image.mode == "P" else (np.array(image.convert("L")), None))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise broken(kind) from error
    return found


def _of_palette_or_grey(indices: NDArray[np.uint8], colours: NDArray[np.uint8] | None) -> StoredLabel:
    """The grey levels of a palette that was grey before; the indices of any other palette."""
    if colours is None:
        return StoredLabel(indices)
    table = np.zeros((256, 3), np.uint8)
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
    colours: Pixels = pixels[:, :, :3]
    if (colours == colours[:, :, :1]).all():
        return colours[:, :, 0]
    if not lossy:
        return colours
    if np.ptp(colours, axis=2).max() > _COLOUR_NOISE:
        raise LabelError(f"a label in colours; {lossy} blurs a label's values, PNG and TIFF keep them")
    return colours[:, :, 1]


_READERS: dict[str, Callable[[bytes], list[StoredLabel]]] = {".npy": decode_npy, ".mat": decode_mat}
