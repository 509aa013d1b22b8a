from itertools import product

import numpy as np
import pytest
import torch

from model.engines.pytorch import TorchEngine
from model.engines.tta import SYMMETRIES, TTAEngine
from model.tiles import Window
from model.unet import UNet

# Depth 2: a grid of 4 and a halo of 28, so that small images have many tiles
SMALL = {"depth": 2}
TILE = 64
GRID = 4


def batch_of(n: int, channels: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, channels, height, width), np.float32)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one - other).max())


def mirrored(tensor: torch.Tensor, axes: tuple[int, ...], turns: int) -> torch.Tensor:
    return tensor.flip(axes).rot90(turns, (-2, -1))


def restored(tensor: torch.Tensor, axes: tuple[int, ...], turns: int) -> torch.Tensor:
    return tensor.rot90(-turns, (-2, -1)).flip(axes)


# As flips and quarter turns: another way to say what the module says as flips and exchanges of rows and columns.
VIEWS: dict[int, list[tuple[tuple[int, ...], int]]] = {
    2: [((), 0), ((-1,), 0)],
    4: [((), 0), ((-1,), 0), ((-2,), 0), ((-2, -1), 0)],
    8: list(product([(), (-1,)], range(4))),
}


@torch.inference_mode()
def by_hand(net: torch.nn.Module, batch: np.ndarray, tta: int) -> np.ndarray:
    """The mean over the views of the batch, padded to the grid as a whole."""
    height, width = batch.shape[-2:]
    padded = torch.from_numpy(np.pad(batch, ((0, 0), (0, 0), (0, -height % GRID), (0, -width % GRID)), mode="edge"))
    logits = [restored(net(mirrored(padded, *view)), *view) for view in VIEWS[tta]]
    results = [one.softmax(dim=1) if one.shape[1] > 1 else one.sigmoid() for one in logits]
    return torch.stack(results).double().mean(dim=0)[..., :height, :width].numpy()


@pytest.mark.parametrize("tta", VIEWS)
@pytest.mark.parametrize("size", [(32, 48), (37, 50), (1, 3)])
@pytest.mark.parametrize("settings", [{}, {"upsampling": "transposed"}, {"in_channels": 3, "classes": 4}], ids=str)
def test_tta_is_the_mean_over_the_views_of_the_padded_batch(make_net, tta, size, settings):
    net = make_net(**SMALL, **settings)
    batch = batch_of(2, net.config.in_channels, *size)
    plain = TorchEngine(net, "cpu", "fp32")
    result = TTAEngine(plain, tta, GRID).run(batch)
    assert result.dtype == np.float32
    assert difference(result, by_hand(net, batch, tta)) < 1e-5
    assert difference(result, plain.run(batch)) > 1e-3  # the net is not symmetric by itself


def test_one_view_is_the_engine_itself(make_net):
    plain, batch = TorchEngine(make_net(**SMALL), "cpu", "fp32"), batch_of(2, 1, 30, 41)
    assert difference(TTAEngine(plain, 1, GRID).run(batch), plain.run(batch)) < 1e-6


def test_the_eight_symmetries_are_different_and_can_be_undone():
    batch = batch_of(1, 1, 3, 5)
    views = [symmetry.apply(batch) for symmetry in SYMMETRIES]
    assert len({(view.shape, view.tobytes()) for view in views}) == 8
    assert all(np.array_equal(s.undo(view), batch) for s, view in zip(SYMMETRIES, views, strict=True))


@pytest.mark.parametrize(
    ("tta", "view"),
    [(2, ((-1,), 0)), (4, ((-1,), 0)), (4, ((-2,), 0)), (4, ((), 2)), *((8, view) for view in VIEWS[8][1:])],
    ids=str,
)
@pytest.mark.parametrize("upsampling", ["bilinear", "bilinear_aligned"])
def test_a_flipped_or_turned_image_has_the_flipped_or_turned_result(make_net, tta, view, upsampling):
    net = make_net(**SMALL, upsampling=upsampling)
    engine = TTAEngine(TorchEngine(net, "cpu", "fp32"), tta, net.config.grid)
    # nets with aligned corners are not padded to a grid, so for them it holds at any size
    batch = batch_of(1, 1, *((40, 52) if net.config.grid > 1 else (41, 55)))
    flipped = mirrored(torch.from_numpy(batch), *view).contiguous().numpy()
    expected = mirrored(torch.from_numpy(engine.run(batch)), *view).numpy()
    assert difference(engine.run(flipped), expected) <= 1e-6


@pytest.mark.parametrize("tta", VIEWS)
@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
@pytest.mark.parametrize("size", [(65, 64), (1, 160), (70, 90)])
def test_tiles_make_no_difference(make_net, make_image, make_segmenter, tta, upsampling, size):
    net, image = make_net(**SMALL, upsampling=upsampling), make_image(*size)
    tiled, whole, plain = (
        make_segmenter(net, tile=tile, tta=views) for tile, views in ((TILE, tta), (1024, tta), (1024, 1))
    )
    assert len(tiled.task(image).tiles) > 1 == len(whole.task(image).tiles)
    assert difference(tiled.probabilities(image), whole.probabilities(image)) <= 1e-4
    assert difference(tiled.probabilities(image), plain.probabilities(image)) > 1e-3


def test_tiles_make_no_difference_at_full_depth(make_net, make_image, make_segmenter):
    net, image = make_net(), make_image(37, 1031)
    tiled, whole = (make_segmenter(net, tile=tile, tta=8) for tile in (256, 2048))
    assert len(tiled.task(image).tiles) > 1 == len(whole.task(image).tiles)
    assert difference(tiled.probabilities(image), whole.probabilities(image)) <= 1e-4


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
def test_no_pixel_outside_its_window_changes_a_core(make_net, make_image, make_segmenter, upsampling):
    segmenter = make_segmenter(make_net(**SMALL, upsampling=upsampling), tile=256, tta=8)
    image = make_image(160, 172)
    tiles = make_segmenter(make_net(**SMALL, upsampling=upsampling), tile=TILE).task(image).tiles
    inner = [tile for tile in tiles if tile.rows.start and tile.columns.start]
    for tile in inner[:: len(inner) // 3]:
        rows, columns = tile.rows, tile.columns
        outside = np.ones(image.shape, bool)
        outside[rows.start : rows.start + rows.size, columns.start : columns.start + columns.size] = False
        one, other = (segmenter.probabilities(pixels) for pixels in (image, np.where(outside, 255 - image, image)))
        core = (..., slice(rows.low, rows.high), slice(columns.low, columns.high))
        assert difference(one[core], other[core]) <= 1e-6
        assert difference(one, other) > 0.1


@pytest.mark.parametrize("size", [(1, 1), (2, 15), (101, 67)])
def test_a_net_with_aligned_corners_sees_each_view_without_padding(make_net, make_image, make_segmenter, size):
    net, image = make_net(**SMALL, upsampling="bilinear_aligned"), make_image(*size)
    x = torch.from_numpy(np.float32(image) / np.float32(255))[None, None]
    with torch.inference_mode():
        results = [restored(net(mirrored(x, *view)).sigmoid(), *view) for view in VIEWS[8]]
    expected = torch.stack(results).mean(dim=0)[0].numpy()
    assert difference(make_segmenter(net, tta=8).probabilities(image), expected) < 1e-5


class ReusingEngine(TorchEngine):
    """Has one array for all results of a shape, and remembers the shapes it was given."""

    def __init__(self, net: UNet) -> None:
        super().__init__(net, "cpu", "fp32")
        self.shapes: list[tuple[int, ...]] = []
        self._memory: dict[tuple[int, ...], np.ndarray] = {}

    def run(self, batch: np.ndarray, kept: Window | None = None) -> np.ndarray:
        assert batch.flags.c_contiguous
        self.shapes.append(batch.shape)
        result = super().run(batch, kept)
        memory = self._memory.setdefault(result.shape, np.empty(result.shape, np.float32))
        memory[...] = result
        return memory


def test_tta_runs_one_view_at_a_time_and_copies_results(make_net):
    net, batch = make_net(**SMALL), batch_of(3, 1, 30, 40)
    before = batch.copy()
    reusing = ReusingEngine(net)
    result = TTAEngine(reusing, 8, GRID).run(batch)
    assert sorted(reusing.shapes) == [(3, 1, 32, 40)] * 4 + [(3, 1, 40, 32)] * 4
    assert np.array_equal(result, TTAEngine(TorchEngine(net, "cpu", "fp32"), 8, GRID).run(batch))
    assert np.array_equal(batch, before)


def test_tta_keeps_the_engines_name_device_and_precision(make_net):
    engine = TTAEngine(TorchEngine(make_net(**SMALL), "cpu", "bf16"), 8, GRID)
    assert (engine.name, engine.device, engine.precision) == ("torch", "cpu", "bf16")


@pytest.mark.parametrize("tta", [0, 3, 16, -1])
def test_another_number_of_views_is_refused(make_net, make_segmenter, tta):
    with pytest.raises(ValueError, match=rf"^tta must be 1, 2, 4 or 8, not {tta}$"):
        make_segmenter(make_net(**SMALL), tta=tta)
