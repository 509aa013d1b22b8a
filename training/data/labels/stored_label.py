"""A label's values as its file stores them, before their kind is known.

Shape letters: H height, W width.
"""

import zlib
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError

Values = NDArray[np.integer[Any]]

_GREY_LEVELS = 255


class LabelError(UserError):
    """A label that does not fit its scheme. The message names the values; the caller knows the file."""


@dataclass(frozen=True, eq=False)
class StoredLabel:
    """The values of one label as its file stores them.

    Attributes:
        values: H x W integers, or H x W x 3 uint8 (RGB) for a label in colours.
        bits: Bits per value in the file.
        palette: RGB colours, N x 3 uint8, of a label whose values are indices of a palette; None for other labels.
        lossy: The compression that changed the values, such as "JPEG"; "" for lossless files.
        objects: True if the values are object ids by construction: one file or one polygon per object.
        names: Names of the classes if the values are class indices by construction; else empty.
        overlap: Number of pixels that several objects claimed.
        floats: "levels" if fractions from 0 to 1 became grey levels 0..255, "whole" for floats that are 0 and 1 only,
            "" for other values.
    """

    values: Values
    bits: int = 8
    palette: NDArray[np.uint8] | None = None
    lossy: str = ""
    objects: bool = False
    names: tuple[str, ...] = ()
    overlap: int = 0
    floats: Literal["", "levels", "whole"] = ""

    @classmethod
    def of_array(cls, array: NDArray[Any], lossy: str = "") -> "StoredLabel":
        """The label of an array H x W of any numeric type, see `whole_numbers`. Raises LabelError."""
        values = whole_numbers(array)
        if array.dtype.kind != "f" or array.min(initial=0) < 0 or array.max(initial=0) > 1:
            return cls(values, 8 * array.itemsize, lossy=lossy)
        return cls(values, 8 * array.itemsize, lossy=lossy, floats="whole" if (array == values).all() else "levels")

    @property
    def as_levels(self) -> "StoredLabel":
        """The label of a file with floats 0 and 1 as grey levels 0 and 255, as files with fractions are read."""
        others = {each.name: getattr(self, each.name) for each in fields(StoredLabel)}
        return StoredLabel(**(others | {"values": self.values * np.uint8(_GREY_LEVELS), "floats": "levels"}))

    @property
    def in_colours(self) -> bool:
        """True if the label is an RGB image whose channels differ."""
        return self.values.ndim == 3

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """H x W x 3 uint8: the colours of the label's pixels. Raises LabelError for more than 8 bits."""
        if self.palette is not None:
            return self.palette[self.values]
        if self.values.dtype != np.uint8:
            raise LabelError(f"a label of {self.bits} bits; colours have 8 bits per channel")
        return self.values if self.in_colours else np.dstack([self.values] * 3)  # type: ignore[return-value]


class PackedLabel(StoredLabel):
    """A stored label whose values are compressed while they are not in use."""

    def __init__(self, label: StoredLabel) -> None:
        values = np.ascontiguousarray(label.values)
        vars(self).update({name: value for name, value in vars(label).items() if name != "values"})
        vars(self).update(_packed=zlib.compress(values.data, level=1), _like=(values.shape, values.dtype))

    @property
    def values(self) -> Values:
        """H x W integers, or H x W x 3 uint8 (RGB)."""
        shape, dtype = vars(self)["_like"]
        return np.frombuffer(bytearray(zlib.decompress(vars(self)["_packed"])), dtype).reshape(shape)


def whole_numbers(array: NDArray[Any]) -> Values:
    """An array H x W of any numeric type as uint8, uint16 or int32, whichever holds its values.

    Floats in 0..1 that are not whole become grey levels 0..255. Ids beyond 31 bits are renumbered in their order.
    Raises LabelError for other fractions and for values that are no numbers.
    """
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype.kind not in "biuf":
        raise LabelError(f"values of type {array.dtype}; integers, booleans or floats are expected")
    if array.dtype.kind == "f":
        array = _without_fractions(array)
    lowest, highest = int(array.min(initial=0)), int(array.max(initial=0))
    if highest > np.iinfo(np.int32).max or lowest < np.iinfo(np.int32).min:
        distinct, places = np.unique(array, return_inverse=True)
        array, lowest, highest = places.reshape(array.shape) + int(distinct[0] != 0), 0, len(distinct)
    fitting = np.uint8 if highest < 2**8 else np.uint16 if highest < 2**16 else np.int32
    values: Values = array.astype(np.int32 if lowest < 0 else fitting)
    return values


def _without_fractions(array: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(array).all():
        raise LabelError("values that are not numbers (NaN or infinity); ids, classes or a mask are expected")
    if (array == np.rint(array)).all():
        return array.astype(np.int64)
    if array.min() < 0 or array.max() > 1:
        raise LabelError(
            f"fractions from {array.min():g} to {array.max():g}; whole numbers, or fractions from 0 to 1, are expected"
        )
    levels: NDArray[np.uint8] = np.rint(array * _GREY_LEVELS).astype(np.uint8)
    return levels
