"""Labels in NumPy and MATLAB files.

Shape letters: H height, W width.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from model.images.image_errors import ImageError
from training.data.labels.stored_label import LabelError, StoredLabel

# Names of the array that is the label, in MATLAB files with several arrays of one size. The first that fits is read.
_MAT_NAMES = ("segmentation", "inst_map", "instances", "labels", "label", "mask", "groundtruth", "gt", "seg")


def decode_npy(data: bytes) -> list[StoredLabel]:
    """Raises ImageError for a damaged file, LabelError for an array that is no label."""
    try:
        array = np.load(BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TypeError) as error:
        raise ImageError("The NPY file is damaged, or holds Python objects instead of an array of numbers.") from error
    grid = np.squeeze(array) if isinstance(array, np.ndarray) else np.empty(0)
    if grid.ndim != 2:
        raise LabelError(f"an array of shape {np.shape(array)}; height x width is expected")
    return [StoredLabel.of_array(grid)]


def decode_mat(data: bytes) -> list[StoredLabel]:
    """The label in a MATLAB file of version 5 to 7. Raises ImageError, LabelError."""
    try:
        contents = scipy.io.loadmat(BytesIO(data), simplify_cells=True)
    except NotImplementedError as error:
        raise ImageError(
            "MATLAB files of version 7.3 are not accepted: save the label again with -v7, or as PNG."
        ) from error
    except Exception as error:  # scipy raises nearly anything for damaged files
        raise ImageError("The MATLAB file is damaged, or is not a MATLAB file of version 5 to 7.") from error
    return [StoredLabel.of_array(_label_array(contents))]


def _label_array(contents: dict[str, Any]) -> NDArray[Any]:
    """The one array that can be a label: the largest 2-D arrays, of these the best name. Raises LabelError."""
    found = dict(_grids({name: value for name, value in contents.items() if not name.startswith("__")}, ""))
    if not found:
        raise LabelError("no array of height x width with whole numbers is in this MATLAB file")
    most = max(grid.size for grid in found.values())
    largest = {name: grid for name, grid in found.items() if grid.size == most}
    if len(largest) == 1:
        return next(iter(largest.values()))
    for wanted in _MAT_NAMES:
        for name, grid in largest.items():
            if name.rpartition(".")[2].lower() == wanted:
                return grid
    raise LabelError(
        f"several arrays of one size, {', '.join(largest)}; one of them must be named {' or '.join(_MAT_NAMES[:5])}"
    )


def _grids(value: object, name: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """(name, array) of every 2-D array of whole numbers in nested structs and cells."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _grids(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype == object):
        for place, inner in enumerate(value):
            yield from _grids(inner, f"{name}[{place}]" if place else name)
    elif isinstance(value, np.ndarray) and _is_grid(value):
        yield name, value


def _is_grid(array: NDArray[Any]) -> bool:
    """True for H x W whole numbers or booleans, more than one row and column."""
    whole = array.dtype.kind in "biu" or (array.dtype.kind == "f" and bool((array == np.rint(array)).all()))
    return whole and array.ndim == 2 and min(array.shape) > 1
