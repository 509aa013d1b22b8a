"""Decoded images and labels: in memory up to a bound, the others in a scratch file.

Every file is decoded once. A stack, a folder with one mask per object or a polygon file would be too slow to decode
again for each crop, and a file may change while a training runs.
"""

import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from training.data.folder import IN_MEMORY, Made, Sample, SampleStore
from training.data.free_memory import free_memory
from training.data.labels.labels import Encoding, Label
from training.data.labels.stored_label import PackedLabel, StoredLabel
from training.data_error import DataError
from training.distributed.processes import Processes

Array: TypeAlias = NDArray[Any]

# Share of the free memory for images if no bound is given. The net, its activations and the batches need the rest.
SHARE = 0.25
# Share of the bound for arrays that stay in memory, where forked workers share them with the main process. The rest is
# for arrays read back from the scratch file; each process has its own copies of them.
_RESIDENT = 0.75


class ImageCache(SampleStore):
    """Keeps arrays in memory until a bound is reached, and the following ones in a scratch file.

    The scratch file has no name and disappears with the process. Arrays read from it stay in memory until newer ones
    need the space. Processes that are forked later use the same file and the same resident arrays.
    """

    def __init__(self, folder: Path, bound: int, processes: int = 1) -> None:
        """Opens no file yet.

        Args:
            folder: Where to put the scratch file if one is needed; the nearest folder above, if it does not exist.
            bound: Bytes of memory for all processes together.
            processes: The number of processes that read: this one and its workers.
        """
        self.resident = self.recent = self.spilled = 0
        self._most_resident = int(_RESIDENT * bound)
        self._most_recent = (bound - self._most_resident) // processes
        self._read: OrderedDict[int, Array] = OrderedDict()
        self._folder, self._file = folder, -1

    @property
    def held(self) -> int:
        """Bytes of arrays that the cache holds in the memory of this process."""
        return self.resident + self.recent

    def sample(
        self, name: str, pixels: "Array | Stored", label: Label, label_file: str, source: str = "", bits: int = 0
    ) -> Sample:
        """Returns a sample whose arrays are kept here. Raises DataError if the disk has no space."""
        ids = None if label.ids is None else self.put(label.ids)
        classes = self.put(label.classes)
        return CachedSample(name, pixels, classes, label_file, label.encoding, ids, source, bits, cache=self)

    def pack(self, label: StoredLabel) -> StoredLabel:
        """Returns the label with compressed values: all labels are needed until the kind of the labels is known."""
        return PackedLabel(label)

    def put(self, array: Array) -> "Array | Stored":
        """Returns the array itself if it stays in memory, else its place in the scratch file. Raises DataError."""
        if self.resident + array.nbytes <= self._most_resident:
            self.resident += array.nbytes
            return array
        try:
            return self._write(np.ascontiguousarray(array))
        except OSError as error:
            raise DataError(
                f"the images take more memory than the {self._most_resident / 2**30:.1f} GiB that are free for them, "
                f"and a scratch file in {self._folder} cannot hold the rest ({error.strerror}); free some disk space, "
                "or raise --image-memory"
            ) from error

    def read(self, stored: "Stored") -> Array:
        """Returns the array at a place in the scratch file."""
        if stored.offset in self._read:
            self._read.move_to_end(stored.offset)
            return self._read[stored.offset]
        array, offset = np.empty(stored.shape, stored.dtype), stored.offset
        left = _bytes(array)
        while left:
            # preadv: forked processes share one position in the file; Linux reads at most 2 GiB in one call
            read = os.preadv(self._file, [left], offset)
            if not read:
                raise OSError(f"the scratch file in {self._folder} is shorter than it was written")
            offset, left = offset + read, left[read:]
        self._remember(stored.offset, array)
        return array

    def _remember(self, offset: int, array: Array) -> None:
        if array.nbytes > self._most_recent:
            return
        while self.recent + array.nbytes > self._most_recent:
            self.recent -= self._read.popitem(last=False)[1].nbytes
        self._read[offset] = array
        self.recent += array.nbytes

    def _write(self, array: Array) -> "Stored":
        """Raises OSError."""
        if self._file < 0:
            self._folder = next(path for path in (self._folder, *self._folder.absolute().parents) if path.is_dir())
            with tempfile.TemporaryFile(dir=self._folder) as file:
                self._file = os.dup(file.fileno())
        stored = Stored(self, self.spilled, array.shape, array.dtype)
        left = _bytes(array)
        while left:
            written = os.pwrite(self._file, left, self.spilled)
            self.spilled += written
            left = left[written:]
        return stored


@dataclass(frozen=True, eq=False)
class Stored:
    """The place of an array in the scratch file of a cache; `offset` in bytes."""

    cache: ImageCache
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class CachedSample(Sample):
    """A sample whose arrays are in an `ImageCache`; each use reads them from there."""

    def __init__(
        self,
        name: str,
        pixels: Array | Stored,
        label: Array | Stored,
        label_file: str = "",
        encoding: Encoding | None = None,
        ids: Array | Stored | None = None,
        source: str = "",
        bits: int = 0,
        cache: ImageCache | None = None,
    ) -> None:
        """Takes the arguments of `Sample`, so that `dataclasses.replace` works, with places in place of arrays."""
        vars(self).update(name=name, label_file=label_file, encoding=encoding, source=source, bits=bits, _made={})
        vars(self).update(_pixels=pixels, _label=label, _ids=ids, _cache=cache)

    @property
    def pixels(self) -> Array:
        """H x W or H x W x C, uint8 or uint16."""
        pixels: Array = _loaded(vars(self)["_pixels"])
        return pixels

    @property
    def label(self) -> NDArray[np.uint8]:
        """H x W class indices."""
        label: NDArray[np.uint8] = _loaded(vars(self)["_label"])
        return label

    @property
    def ids(self) -> NDArray[np.int32] | None:
        """H x W object ids, or None."""
        ids: NDArray[np.int32] | None = _loaded(vars(self)["_ids"])
        return ids

    def once(self, make: Callable[..., Made], *arguments: Hashable) -> Made:
        """Returns `make(self, *arguments)`, computed at the first call; an array is kept in the cache."""
        key, cache = (make, *arguments), vars(self)["_cache"]
        if key not in self._made:
            made: Any = make(self, *arguments)
            self._made[key] = cache.put(made) if cache and isinstance(made, np.ndarray) else made
        value: Made = _loaded(self._made[key])
        return value


def store_of(samples: Sequence[Sample]) -> SampleStore:
    """Returns the store of samples, so that more samples can be kept within the same bound."""
    return next((cache for sample in samples if (cache := vars(sample).get("_cache"))), IN_MEMORY)


def _bytes(array: Array) -> memoryview:
    """Returns the bytes of a contiguous array, to read or to write."""
    return memoryview(array.view(np.uint8).reshape(-1).data)


def _loaded(value: Any) -> Any:
    return value.cache.read(value) if isinstance(value, Stored) else value


def image_cache(out: Path, gigabytes: float | None, workers: int, processes: Processes) -> ImageCache:
    """Returns a cache for the images of a training.

    Args:
        out: The training's folder, whose disk takes the scratch file.
        gigabytes: The memory for images in GiB, of each training process; None for a share of the free memory.
        workers: The number of processes that draw batches.
        processes: The training processes; those on one machine share its memory.
    """
    free = SHARE * free_memory() / processes.sharing("cpu")
    return ImageCache(out, int(free if gigabytes is None else gigabytes * 2**30), workers + 1)
