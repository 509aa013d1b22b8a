import numpy as np
import pytest

from model.tiles import Tile, plan_tiles

# tile, halo, grid: with and without a halo, barely wider than two halos, as small as can be, and as in production
PLANS = [(32, 8, 4), (32, 0, 4), (36, 16, 4), (1, 0, 1), (5, 2, 1), (64, 28, 4), (1024, 112, 16), (256, 112, 16)]
SIDES = [1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 200]


def side_of(plan: tuple[int, int, int], side: int) -> int:
    """A side that asks as much of the plan as `side` does of a tile of 32 pixels."""
    return max(1, side * plan[0] // 32 + side % 3 - 1)


@pytest.mark.parametrize(("tile", "halo", "grid"), PLANS)
def test_every_pixel_is_written_exactly_once(tile, halo, grid):
    random = np.random.default_rng(tile + halo)
    for height, width in random.integers(1, 3 * tile + 2, (12, 2)).tolist():
        written = np.zeros((height, width), np.uint8)
        for part in plan_tiles(height, width, tile=tile, halo=halo, grid=grid):
            written[part.rows.low : part.rows.high, part.columns.low : part.columns.high] += 1
        assert (written == 1).all(), (height, width)


@pytest.mark.parametrize(("tile", "halo", "grid"), PLANS)
@pytest.mark.parametrize("side", SIDES)
def test_cores_follow_each_other_from_edge_to_edge(tile, halo, grid, side):
    side = side_of((tile, halo, grid), side)
    spans = [part.columns for part in plan_tiles(1, side, tile=tile, halo=halo, grid=grid)]
    assert [0, *(span.high for span in spans)] == [*(span.low for span in spans), side]
    assert all(span.low < span.high for span in spans)


@pytest.mark.parametrize(("tile", "halo", "grid"), PLANS)
@pytest.mark.parametrize("side", SIDES)
def test_windows_start_at_multiples_of_the_grid_and_end_inside_the_padded_image(tile, halo, grid, side):
    side = side_of((tile, halo, grid), side)
    padded = -(-side // grid) * grid
    for part in plan_tiles(side, 1, tile=tile, halo=halo, grid=grid):
        assert part.rows.start % grid == 0
        assert part.rows.size % grid == 0
        assert part.rows.size <= tile
        assert 0 <= part.rows.start <= part.rows.start + part.rows.size <= padded


@pytest.mark.parametrize(("tile", "halo", "grid"), PLANS)
@pytest.mark.parametrize("side", SIDES)
def test_a_core_keeps_the_halo_from_every_cut_edge(tile, halo, grid, side):
    side = side_of((tile, halo, grid), side)
    padded = -(-side // grid) * grid
    for span in (part.rows for part in plan_tiles(side, 1, tile=tile, halo=halo, grid=grid)):
        end = span.start + span.size
        assert span.start == 0 or span.low - span.start >= halo
        assert end == padded or end - span.high >= halo


@pytest.mark.parametrize("side", [1, 31, 32])
def test_an_image_of_at_most_a_tile_stays_in_one_piece(side):
    [part] = plan_tiles(side, side, tile=32, halo=8, grid=4)
    assert (part.rows.low, part.rows.high, part.columns.low, part.columns.high) == (0, side, 0, side)


def test_a_small_image_costs_no_more_than_its_own_padded_size():
    [part] = plan_tiles(37, 13, tile=1024, halo=112, grid=16)
    assert part.shape == (48, 16)
    assert part.pixels == 48 * 16


def test_all_windows_of_an_image_have_one_shape():
    shapes = {part.shape for part in plan_tiles(333, 41, tile=64, halo=16, grid=8)}
    assert shapes == {(64, 48)}


@pytest.mark.parametrize(("side", "count"), [(32, 1), (33, 2), (48, 2), (49, 3), (64, 3), (65, 4)])
def test_there_are_as_few_tiles_as_cover_the_image(side, count):
    assert len(plan_tiles(1, side, tile=32, halo=8, grid=1)) == count


def test_tiles_come_row_by_row():
    order = [(part.rows.low, part.columns.low) for part in plan_tiles(100, 100, tile=32, halo=4, grid=4)]
    assert order == sorted(order)
    assert len(order) == 16


@pytest.mark.parametrize(("height", "width"), [(20, 20), (100, 20), (100, 77)])
def test_the_core_inside_the_window_is_the_core_in_the_image(height, width):
    plan = plan_tiles(height, width, tile=32, halo=8, grid=4)
    rows, columns = np.mgrid[: height + 4, : width + 4]
    for part in plan:
        for axis, span in ((rows[:, 0], part.rows), (columns[0], part.columns)):
            assert (axis[span.start :][span.inside] == axis[span.low : span.high]).all()


@pytest.mark.parametrize(
    ("tile", "halo", "grid"),
    [(30, 8, 4), (16, 8, 4), (12, 8, 4), (0, 0, 4), (-32, 0, 4), (32, 6, 4), (0, 0, 1)],
)
def test_a_tile_that_leaves_no_core_or_misses_the_grid_is_refused(tile, halo, grid):
    with pytest.raises(ValueError, match=rf"multiple of {grid} and more than {2 * halo} pixels, not {tile}$"):
        plan_tiles(100, 100, tile=tile, halo=halo, grid=grid)


def test_tiles_are_values():
    one, other = (plan_tiles(50, 50, tile=32, halo=8, grid=4) for _ in range(2))
    assert one == other
    assert len(set(one)) == len(one)
    assert isinstance(one[0], Tile)
