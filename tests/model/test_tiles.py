import numpy as np
import pytest
import torch

from model.tiles import Tile, block_side, block_spans, cut_window, decoder_crops, plan_tiles

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
def test_windows_are_aligned_to_the_grid_and_inside_the_padded_image(tile, halo, grid, side):
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


@pytest.mark.parametrize(("tile", "halo", "grid"), PLANS)
@pytest.mark.parametrize("side", SIDES)
def test_kept_logits_start_at_the_core_and_add_only_padding(tile, halo, grid, side):
    side = side_of((tile, halo, grid), side)
    for span in (part.rows for part in plan_tiles(side, 1, tile=tile, halo=halo, grid=grid)):
        first, end = span.kept
        assert span.start + first == span.low
        assert span.start + end == (span.high if span.high < side else -(-side // grid) * grid)


def test_windows_are_as_small_as_the_tile_count_allows():
    sizes = {part.shape for part in plan_tiles(8192, 1040, tile=1600, halo=112, grid=16)}
    assert sizes == {(1552, 1040)}  # 6 of them: (8192 + 5 * 2 * 112) / 6, rounded up to the grid


CROPS = [((0, 64), (0, 96)), ((16, 64), (0, 40)), ((20, 23), (31, 70)), ((0, 1), (95, 96)), ((24, 40), (24, 72))]


@pytest.mark.parametrize("kept", CROPS)
@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
@pytest.mark.parametrize(("depth", "downsampling"), [(3, 1), (3, 2), (1, 2), (2, 4)])
@torch.inference_mode()
def test_a_cropped_decoder_gives_the_same_where_it_is_kept(make_net, kept, upsampling, depth, downsampling):
    net = make_net(upsampling=upsampling, depth=depth, downsampling=downsampling).double()
    x = torch.rand(1, 1, 64, 96, dtype=torch.float64)
    (top, bottom), (left, right) = kept
    expected = net(x)[..., top:bottom, left:right]
    result = net(x, decoder_crops(kept, (64, 96), depth, downsampling).tolist())
    assert torch.allclose(result, expected, rtol=0, atol=1e-12)


def test_a_decoder_is_cropped_to_a_few_pixels_around_what_is_kept():
    crops = decoder_crops(((112, 912), (0, 1024)), (1024, 1024), 4)
    assert crops[0::2, 0].tolist() == [[110, 914], [52, 460], [23, 233], [8, 120], [2, 802]]
    assert (crops[0::2, 1] == [[0, 1024], [0, 512], [0, 256], [0, 128], [0, 1024]]).all()


def test_logits_are_cropped_around_the_kept_part_and_upsampled():
    crops = decoder_crops(((224, 1600), (0, 2048)), (2048, 2048), 4, downsampling=2)
    same = decoder_crops(((111, 801), (0, 1024)), (1024, 1024), 4)
    assert np.array_equal(crops[:-1], same)
    assert crops[-1].tolist() == [[2, 1378], [0, 2048]]


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


@pytest.mark.parametrize(("tile", "halo", "grid"), PLANS)
@pytest.mark.parametrize("side", SIDES)
def test_blocks_are_tiles_whose_cores_start_at_multiples_of_one_side(tile, halo, grid, side):
    side = side_of((tile, halo, grid), side)
    padded, block = -(-side // grid) * grid, block_side(side, tile=tile, halo=halo, grid=grid)
    spans = block_spans(side, tile=tile, halo=halo, grid=grid)
    assert [span.low for span in spans] == list(range(0, side, block))
    assert [span.high for span in spans] == [*range(block, side, block), side]
    for span in spans:
        end = span.start + span.size
        assert span.size <= tile
        assert span.start % grid == span.size % grid == 0
        assert span.start == 0 or span.low - span.start >= halo
        assert end == padded or end - span.high >= halo
        assert span.end == (span.high if span.high < side else padded)
        assert end <= padded


def test_a_window_is_cut_out_of_part_of_an_image_as_out_of_the_whole():
    image = np.random.default_rng(0).integers(0, 255, (97, 131, 2), np.uint8)
    padded = np.pad(image, ((0, 3), (0, 1), (0, 0)), mode="edge")
    for part in plan_tiles(97, 131, tile=64, halo=16, grid=4):
        rows = slice(part.rows.start, part.rows.start + part.rows.size)
        columns = slice(part.columns.start, part.columns.start + part.columns.size)
        for origin in ((0, 0), (part.rows.start, 0), (part.rows.start, part.columns.start)):
            window = cut_window(image[origin[0] :, origin[1] :], part, origin)
            assert np.array_equal(window, padded[rows, columns])
