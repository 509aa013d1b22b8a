"""The result of a volume: an OME-Zarr (0.5) whose chunks are complete or missing.

Until all chunks are written, the name ends in ".unfinished.zarr". So a "_res.zarr" is complete, as the results of
images are. zarr writes each chunk under a temporary name and renames it, so a chunk that exists is complete.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from model.atomic_write import sync_folder, write_whole
from model.errors import UserError
from model.predict.inputs import UNFINISHED as UNFINISHED_NAME
from model.predict.volumes.source import Volume
from model.tiles import Tile

SUFFIX = ".zarr"
UNFINISHED = f"{UNFINISHED_NAME}{SUFFIX}"

# Our own attribute of the group: what the result is made with.
RECIPE = "unet"

# Beside the array while it is unfinished.
MOMENTS, RANGES = "moments.json", "ranges.json"


class ResultError(UserError):
    """A result that cannot be resumed. The message says why."""


class VolumeResult:
    """An unfinished result; any number of threads and processes may write to it."""

    def __init__(self, folder: Path) -> None:
        """One that is there."""
        self.folder = folder
        group = zarr.open_group(folder, mode="r+")
        array = group.get("0")
        if not isinstance(array, zarr.Array):
            raise ResultError(
                f"{folder} is no result of this command, or was hardly begun; --overwrite begins it again"
            )
        # chunks of zeros are written as well, to distinguish them from missing chunks
        self._array = array.with_config({"write_empty_chunks": True})
        self._names = [str(name) for name in array.metadata.dimension_names or ()]  # type: ignore[union-attr]
        self.recipe: Any = group.attrs.asdict().get(RECIPE)
        """What it is made with."""

    def has(self, time: int, section: int, tile: Tile) -> bool:
        """Returns True if a tile's core, which is one chunk, is written."""
        place = {"t": time, "z": section, "y": tile.rows.low, "x": tile.columns.low}
        chunk = [place[name] // size for name, size in zip(self._names, self._array.chunks, strict=True)]
        return (self.folder / "0" / self._array.metadata.encode_chunk_key(tuple(chunk))).exists()

    def write(self, time: int, section: int, tile: Tile, core: NDArray[Any]) -> None:
        """A tile's core, H x W. Raises OSError."""
        rows, columns = slice(tile.rows.low, tile.rows.high), slice(tile.columns.low, tile.columns.high)
        place: dict[str, int | slice] = {"t": time, "z": section, "y": rows, "x": columns}
        self._array[tuple(place[name] for name in self._names)] = core

    def measured(self, name: str) -> dict[str, Any]:
        """The measurements of sections under a name, `MOMENTS` or `RANGES`; empty if there are none yet."""
        path = self.folder / name
        return dict(json.loads(path.read_bytes())) if path.exists() else {}

    def keep_measured(self, name: str, measured: Mapping[str, Any]) -> None:
        """Stores what `measured` returns later. Raises OSError."""
        write_whole(self.folder / name, json.dumps(measured).encode())

    def finish(self, target: Path) -> None:
        """Gives it its name, in place of what had it. Raises OSError."""
        for name in (MOMENTS, RANGES):
            (self.folder / name).unlink(missing_ok=True)
        for left in self.folder.rglob("*.partial"):  # of writers that were killed
            left.unlink()
        if target.exists():
            shutil.rmtree(target)
        self.folder.rename(target)
        sync_folder(target.parent)


def create(
    folder: Path, volume: Volume, dtype: np.dtype[Any], chunk: tuple[int, int], recipe: Mapping[str, Any]
) -> VolumeResult:
    """Creates an empty result for a volume, replacing an existing one. `chunk`: rows and columns. Raises OSError."""
    if folder.exists():
        shutil.rmtree(folder)
    space = volume.space.without_channels()
    shape = {"t": volume.times, "z": volume.sections, "y": volume.height, "x": volume.width}
    chunks = {"t": 1, "z": 1, "y": chunk[0], "x": chunk[1]}
    name = folder.name.removesuffix(UNFINISHED)
    group = zarr.create_group(folder, attributes={**space.to_ome(name), RECIPE: dict(recipe)}, zarr_format=3)
    group.create_array(
        "0",
        shape=tuple(shape[name] for name in space.names),
        chunks=tuple(chunks[name] for name in space.names),
        dtype=dtype,
        fill_value=0,
        dimension_names=list(space.names),
    )
    return VolumeResult(folder)
