"""Volumes as jobs: first the range of values and the mean and deviation of each section, where a net needs them.

Then the volume is segmented chunk by chunk.

Shape letters: Z sections, C channels, H height, W width.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from model.inputs.preprocessing import Affine, Preprocessing, Values
from model.predict.jobs import Bench
from model.predict.volumes.moments import Sums, sums
from model.predict.volumes.plan import VolumePart
from model.predict.volumes.ranges import PlaneRange, Stretch, measure
from model.predict.volumes.result import VolumeResult
from model.predict.volumes.source import Box, Volume, open_volume
from model.segmenter import Render, Segmenter, TileInput
from model.tiles import Tile, cut_window


@dataclass(frozen=True)
class SectionInput:
    """The maps from the stored pixels of a section to a net's input.

    Attributes:
        stretch: The first map; None for uint8 and uint16.
        affine: The second map, of the channels that the net takes.
    """

    stretch: Stretch | None
    affine: Affine


@dataclass(frozen=True, eq=False)
class RangeJob:
    """Lowest and highest values, and what else decides how values are scaled."""

    volume: Path
    box: Box

    steps = 1

    def do(self, bench: Bench) -> list[list[PlaneRange]]:
        """Measures the part of each section that lies in the box. Raises ImageError, OSError, Stopped."""
        volume = open_volume(self.volume)
        with bench.room(volume.room(self.box)):
            bench.go_on()
            return [measure(section, volume.colours) for section in volume.read(self.box)]


@dataclass(frozen=True, eq=False)
class MomentsJob:
    """Sums of values, for mean and deviation; `stretches`: one for each section of the box."""

    volume: Path
    box: Box
    stretches: Sequence[Stretch | None]

    steps = 1

    def do(self, bench: Bench) -> list[Sums]:
        """Measures the part of each section that lies in the box. Raises ImageError, OSError, Stopped."""
        volume, preprocessing = open_volume(self.volume), bench.segmenter.description.preprocessing
        with bench.room(volume.room(self.box)):
            bench.go_on()
            sections = zip(volume.read(self.box), self.stretches, strict=True)
            return [sums(_values(section, stretch, preprocessing)) for section, stretch in sections]


MeasureJob: TypeAlias = RangeJob | MomentsJob


@dataclass(frozen=True, eq=False)
class SegmentJob:
    """Whole chunks of the result. Those that are there already are left as they are."""

    volume: Path
    result: Path
    part: VolumePart
    inputs: Sequence[SectionInput]
    """One for each section of the part."""

    @property
    def steps(self) -> int:
        return len(self.inputs) * len(self.part.tiles)

    def do(self, bench: Bench) -> None:
        """Raises ImageError, OSError, RuntimeError, Stopped."""
        result = _open_result(self.result, (self.result / "zarr.json").stat().st_mtime_ns)
        missing = [(section, tile) for section, tile in chunks(self.part) if not result.has(*section, tile)]
        if not missing:
            return
        volume = open_volume(self.volume)
        box = _around(self.part, [tile for _, tile in missing], volume)
        with bench.room(volume.room(box)):
            bench.go_on()
            tasks = self._sections(result, volume, box, bench)
            for batch in _batches(bench.segmenter, [(tasks[section], tile) for section, tile in missing]):
                with bench.engine():
                    bench.segmenter.compute_batch(batch)

    def _sections(
        self, result: VolumeResult, volume: Volume, box: Box, bench: Bench
    ) -> dict[tuple[int, int], "_Section"]:
        """The sections of the box by time and number. Raises ImageError."""
        preprocessing, origin = bench.segmenter.description.preprocessing, (box.rows[0], box.columns[0])
        found = {}
        for number, pixels, given in zip(range(*box.sections), volume.read(box), self.inputs, strict=True):
            place, values = (box.time, number), _values(pixels, given.stretch, preprocessing)
            found[place] = _Section(result, place, values, origin, given.affine, bench.render)
        return found


class _Section:
    """A `Task`: windows are cut out of the pixels that were read of a section, cores go to the result."""

    def __init__(
        self,
        result: VolumeResult,
        place: tuple[int, int],
        pixels: Values,
        origin: tuple[int, int],
        to_input: Affine,
        render: Render,
    ) -> None:
        """`place`: time and section. `pixels`: H x W x C, from row and column `origin` on."""
        self.tiles: list[Tile] = []
        self._result, self._place = result, place
        self._pixels, self._origin, self._affine, self._render = pixels, origin, to_input, render

    def cut(self, tile: Tile) -> TileInput:
        return TileInput(tile, cut_window(self._pixels, tile, self._origin), self._affine, self._render)

    def paste(self, tile: Tile, finished: NDArray[Any]) -> None:
        self._result.write(*self._place, tile, finished)


def _values(pixels: NDArray[Any], stretch: Stretch | None, preprocessing: Preprocessing) -> Values:
    """H x W x C as stored -> H x W x C uint8, uint16, or float32 in 0..1: the channels that the net takes."""
    return preprocessing.arrange(stretch.apply(pixels) if stretch else pixels)


@lru_cache(4)
def _open_result(folder: Path, _made_ns: int) -> VolumeResult:
    """Keeps the volume open, because a job may be a single chunk."""
    return VolumeResult(folder)


def chunks(part: VolumePart) -> Iterator[tuple[tuple[int, int], Tile]]:
    """Time and section, and tile, of each chunk; those of one tile one after the other."""
    return (((part.time, section), tile) for tile in part.tiles for section in range(*part.sections))


def _around(part: VolumePart, tiles: Sequence[Tile], volume: Volume) -> Box:
    """Returns the box to read for some tiles of a part."""
    rows, columns = [tile.rows for tile in tiles], [tile.columns for tile in tiles]
    (top, bottom), (left, right) = (
        (min(span.start for span in spans), min(side, max(span.start + span.size for span in spans)))
        for spans, side in ((rows, volume.height), (columns, volume.width))
    )
    return Box(part.time, part.sections, (top, bottom), (left, right))


def _batches(segmenter: Segmenter, pairs: Iterable[tuple[_Section, Tile]]) -> Iterator[list[tuple[_Section, Tile]]]:
    """Neighbours of one shape that keep the same, as many as go through the engine at once."""
    for _, alike in groupby(pairs, key=lambda pair: (pair[1].shape, pair[1].kept)):
        group = list(alike)
        size = segmenter.batch_size(group[0][1])
        yield from (group[first : first + size] for first in range(0, len(group), size))
