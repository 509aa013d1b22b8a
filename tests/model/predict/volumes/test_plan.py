from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from model.predict.volumes.plan import MOST_PIXELS, VolumePlan, boxes
from model.predict.volumes.source import Volume
from model.predict.volumes.space import Space
from model.unet import UNet
from model.weights_file import Description


@dataclass(frozen=True)
class Stored:
    """As much of an array as a plan looks at: those here are too large to be made."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)


def volume(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Volume:
    return Volume(Stored(shape, chunks), Space.plain("tzyx"[-len(shape) :]))


KINDS = {
    "small": ((5, 100, 90), (1, 100, 90)),
    "huge section": ((100_000, 70_001), (1024, 1024)),
    "deep chunks": ((100, 3000, 5000), (64, 64, 64)),
    "strips": ((2, 4000, 100_000), (1, 16, 100_000)),
    "one chunk": ((2, 9000, 9000), (2, 9000, 9000)),
    "times": ((2, 3, 2000, 2000), (1, 2, 512, 512)),
}


@pytest.fixture
def description(make_net: Callable[..., UNet], describe: Callable[..., Description]) -> Description:
    return describe(make_net())


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_chunk_is_in_one_part_that_fits_memory(description: Description, kind: str):
    shape, stored = KINDS[kind]
    there = volume(shape, stored)
    plan, seen = VolumePlan.of(there, description, 1600), set[tuple[int, int, int, int]]()
    for part in plan.parts(there):
        height, width = (
            max(span.start + span.size for span in spans) - min(span.start for span in spans)
            for spans in ([tile.rows for tile in part.tiles], [tile.columns for tile in part.tiles])
        )
        assert (part.sections[1] - part.sections[0]) * height * width <= MOST_PIXELS
        for section in range(*part.sections):
            chunks = {(part.time, section, tile.rows.low, tile.columns.low) for tile in part.tiles}
            assert len(chunks) == len(part.tiles)
            assert not chunks & seen
            seen |= chunks
    assert len(seen) == plan.count * there.sections * there.times
    assert {(row % plan.chunk[0], column % plan.chunk[1]) for _, _, row, column in seen} == {(0, 0)}


def test_sections_of_one_chunk_are_read_together(description: Description):
    deep = volume(*KINDS["deep chunks"])
    assert {part.sections for part in VolumePlan.of(deep, description, 1600).parts(deep)} >= {(0, 13), (13, 26)}
    strips = volume(*KINDS["strips"])
    assert max(len(part.tiles) for part in VolumePlan.of(strips, description, 1600).parts(strips)) == 13


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_cover_each_pixel_once_in_whole_chunks(kind: str):
    there = volume(*KINDS[kind])
    pixels = 0
    for box in boxes(there):
        assert box.pixels <= max(MOST_PIXELS, int(np.prod(there.chunk[1:])))
        pixels += box.pixels
        for (first, _), size in zip((box.rows, box.columns), there.chunk[1:], strict=True):
            assert first % size == 0
    assert pixels == there.times * there.sections * there.height * there.width
