"""The plan of a volume: parts that fit into memory, chosen so that few stored chunks are unpacked twice.

Shape letters: Z sections, H height, W width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from model.predict.volumes.source import Box, Volume
from model.tiles import Span, Tile, block_side, block_spans
from model.weights_file import Description

# Pixels of a part, windows with their halos; a stored chunk that is larger is unpacked whole all the same.
MOST_PIXELS = 2**25


@dataclass(frozen=True)
class VolumePart:
    """Tiles at the same place in several sections: whole chunks of the result, which no other part writes."""

    time: int
    sections: tuple[int, int]
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class VolumePlan:
    """The tiles of each section, `rows` x `columns` of them, whose cores are the chunks of the result."""

    rows: list[Span]
    columns: list[Span]
    chunk: tuple[int, int]

    @classmethod
    def of(cls, volume: Volume, description: Description, tile: int) -> "VolumePlan":
        """`tile`: as `plan_tiles` takes it."""
        net = description.architecture
        sides = volume.height, volume.width
        tile = net.tile_side(tile)
        rows, columns = (block_spans(side, tile=tile, halo=net.halo, grid=net.grid) for side in sides)
        height, width = (block_side(side, tile=tile, halo=net.halo, grid=net.grid) for side in sides)
        return cls(rows, columns, (height, width))

    @property
    def count(self) -> int:
        """Chunks of a section."""
        return len(self.rows) * len(self.columns)

    def parts(self, volume: Volume) -> Iterator[VolumePart]:
        """Section by section; as many sections, and tiles beside each other, as the volume stores together."""
        window = max(span.size for span in self.rows) * max(span.size for span in self.columns)
        depth = max(1, min(volume.chunk[0], MOST_PIXELS // window))
        across = _together(volume.chunk[2], self.chunk[1], MOST_PIXELS // (depth * window))
        down = _together(volume.chunk[1], self.chunk[0], MOST_PIXELS // (depth * across * window))
        groups = [
            tuple(Tile(row, column) for row, column in product(rows, columns))
            for rows, columns in product(_groups(self.rows, down), _groups(self.columns, across))
        ]
        for time, first in product(range(volume.times), range(0, volume.sections, depth)):
            sections = first, min(volume.sections, first + depth)
            yield from (VolumePart(time, sections, tiles) for tiles in groups)


def _together(stored: int, block: int, most: int) -> int:
    """Returns the number of blocks along one side that are read at once: as many as a stored chunk touches."""
    return max(1, min(-(-stored // block), most))


def _groups(spans: Sequence[Span], size: int) -> list[Sequence[Span]]:
    return [spans[first : first + size] for first in range(0, len(spans), size)]


def boxes(volume: Volume) -> Iterator[Box]:
    """Whole stored chunks, of no more than `MOST_PIXELS` where one is not more than that."""
    depth, height, width = volume.chunk
    depth = max(1, min(depth, MOST_PIXELS // (height * width)))
    width = min(volume.width, width * max(1, MOST_PIXELS // (depth * height * width)))
    height = min(volume.height, height * max(1, MOST_PIXELS // (depth * height * width)))
    for time, section, row, column in product(
        range(volume.times),
        range(0, volume.sections, depth),
        range(0, volume.height, height),
        range(0, volume.width, width),
    ):
        yield Box(
            time,
            (section, min(volume.sections, section + depth)),
            (row, min(volume.height, row + height)),
            (column, min(volume.width, column + width)),
        )
