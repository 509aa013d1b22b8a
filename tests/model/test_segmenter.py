from typing import Any

import numpy as np
import pytest
import torch

from model.engines.engine import EngineError
from model.segmenter import Segmenter, to_mask
from model.weights_file import WeightsError

# Depth 2 has a grid of 4 and a halo of 28 or 24, so that small images have many tiles
SMALL = {"depth": 2}
TILE = 64
SIZES = [(65, 64), (1, 300), (97, 131), (130, 150)]

KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "bilinear": ({}, {}, 0),
    "transposed": ({"upsampling": "transposed"}, {}, 0),
    "rgb": ({"in_channels": 3}, {}, 3),
    "zscore": ({}, {"preprocessing": {"normalisation": "zscore"}}, 0),
    "rgb zscore, several classes": (
        {"in_channels": 3, "classes": 3, "upsampling": "transposed", "bottleneck": "double"},
        {"preprocessing": {"normalisation": "zscore"}},
        3,
    ),
    "five stored channels": ({"in_channels": 5}, {}, 5),
}


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one - other).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_tiles_make_no_difference(make_net, make_image, make_segmenter, kind, size):
    settings, fields, channels = KINDS[kind]
    net, image = make_net(**SMALL, **settings), make_image(*size, channels)
    tiled, whole = (make_segmenter(net, tile=tile, **fields) for tile in (TILE, 1024))
    assert len(tiled.task(image).tiles) > 1 == len(whole.task(image).tiles)
    assert difference(tiled.probabilities(image), whole.probabilities(image)) <= 1e-4


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
@pytest.mark.parametrize("size", [(257, 300), (301, 240)])
def test_tiles_make_no_difference_at_full_depth(make_net, make_image, make_segmenter, upsampling, size):
    net, image = make_net(upsampling=upsampling), make_image(*size)
    tiled, whole = (make_segmenter(net, tile=tile) for tile in (256, 1024))
    assert difference(tiled.probabilities(image), whole.probabilities(image)) <= 1e-4


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
@pytest.mark.parametrize(("downsampling", "tile"), [(2, 32), (4, 28)])
@pytest.mark.parametrize("size", [(97, 131), (1, 300), (130, 150)])
@pytest.mark.parametrize("tta", [1, 8])
def test_tiles_make_no_difference_to_a_net_of_a_coarser_scale(
    make_net, make_image, make_segmenter, upsampling, downsampling, tile, size, tta
):
    net, image = make_net(depth=1, upsampling=upsampling, downsampling=downsampling), make_image(*size)
    tiled, whole = (make_segmenter(net, tile=side, tta=tta) for side in (tile, 1024))
    assert len(tiled.task(image).tiles) > 1 == len(whole.task(image).tiles)
    assert tiled.probabilities(image).std() > 0.01
    assert difference(tiled.probabilities(image), whole.probabilities(image)) <= 1e-4


@pytest.mark.parametrize(("classes", "side"), [(1, 2 * TILE), (3, TILE)])
def test_the_tile_counts_at_the_scale_of_a_net_of_one_class(make_net, make_image, make_segmenter, classes, side):
    segmenter = make_segmenter(make_net(depth=1, downsampling=2, classes=classes), tile=TILE)
    assert len(segmenter.task(make_image(side, side)).tiles) == 1
    assert len(segmenter.task(make_image(side, side + 1)).tiles) == 2


@pytest.mark.parametrize("settings", [SMALL, SMALL | {"upsampling": "transposed"}, {"depth": 1, "downsampling": 2}])
@torch.inference_mode()
def test_no_pixel_outside_its_window_changes_a_core(make_net, make_image, make_segmenter, settings):
    net = make_net(**settings).double()
    image, segmenter = make_image(160, 170), make_segmenter(net, tile=TILE // net.config.downsampling)
    inner = [tile for tile in segmenter.task(image).tiles if tile.rows.start and tile.columns.start]
    for tile in inner[:: len(inner) // 3]:
        rows, columns = tile.rows, tile.columns
        outside = np.ones(image.shape, bool)
        outside[rows.start : rows.start + rows.size, columns.start : columns.start + columns.size] = False
        one, other = (
            net(torch.from_numpy(pixels / 255)[None, None]) for pixels in (image, np.where(outside, 255 - image, image))
        )
        core = (..., slice(rows.low, rows.high), slice(columns.low, columns.high))
        assert torch.equal(one[core], other[core])
        assert not torch.equal(one, other)


@pytest.mark.parametrize("size", [(1, 1), (37, 103), (130, 150)])
@pytest.mark.parametrize("scaling", ["unit", "raw"])
@torch.inference_mode()
def test_probabilities_are_those_of_the_net_over_the_whole_image(make_net, make_image, make_segmenter, size, scaling):
    full_scale = {"unit": 1, "raw": 255}[scaling]
    net, image = make_net(full_scale=full_scale, **SMALL), make_image(*size)
    expected = net(torch.from_numpy(np.float32(image / 255 * full_scale))[None, None]).sigmoid()[0].numpy()
    segmenter = make_segmenter(net, tile=TILE, preprocessing={"scaling": scaling})
    assert difference(segmenter.probabilities(image), expected) <= 1e-4


@torch.inference_mode()
def test_tiled_softmax_of_zscored_colour_equals_the_whole_image(make_net, make_image, make_segmenter):
    net, image = make_net(in_channels=3, classes=4, **SMALL), make_image(90, 130, 3)
    planes = image.transpose(2, 0, 1).astype(np.float64)
    planes = (planes - planes.mean((1, 2), keepdims=True)) / planes.std((1, 2), keepdims=True)
    expected = net(torch.from_numpy(planes).float()[None]).softmax(dim=1)[0].numpy()
    segmenter = make_segmenter(net, tile=TILE, preprocessing={"normalisation": "zscore"})
    assert difference(segmenter.probabilities(image), expected) <= 1e-4


@torch.inference_mode()
def test_a_net_with_aligned_corners_sees_the_unpadded_image(make_net, make_image, make_segmenter):
    net, image = make_net(upsampling="bilinear_aligned", conv_bias=True), make_image(101, 67)
    expected = net(torch.from_numpy(np.float32(image) / np.float32(255))[None, None]).sigmoid()[0].numpy()
    assert np.array_equal(make_segmenter(net).probabilities(image), expected)


@pytest.mark.parametrize(
    "settings",
    [{}, {"upsampling": "bilinear_aligned"}, {"upsampling": "transposed"}, {"downsampling": 4, "depth": 3}],
    ids=str,
)
@pytest.mark.parametrize("size", [(1, 1), (1, 17), (15, 2), (16, 16), (37, 1031)])
def test_any_size_gives_probabilities_and_a_mask_of_its_own_size(make_net, make_image, make_segmenter, settings, size):
    segmenter = make_segmenter(make_net(**settings), tile=512)
    image = make_image(*size)
    probabilities, mask = segmenter.probabilities(image), segmenter.mask(image)
    assert (probabilities.shape, probabilities.dtype) == ((1, *size), np.float32)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert (mask.shape, mask.dtype) == (size, np.uint8)
    assert set(np.unique(mask)) <= {0, 255}


@pytest.mark.parametrize("scaling", ["unit", "raw"])
@pytest.mark.parametrize("channels", [0, 3])
def test_16_bits_give_exactly_what_the_same_8_bits_give(make_net, make_image, make_segmenter, scaling, channels):
    segmenter = make_segmenter(
        make_net(in_channels=channels or 1, **SMALL), tile=TILE, preprocessing={"scaling": scaling}
    )
    image = make_image(70, 90, channels)
    assert np.array_equal(segmenter.probabilities(image * np.uint16(257)), segmenter.probabilities(image))


@pytest.mark.parametrize("channels", [0, 3])
def test_numbers_give_what_the_same_8_bits_give(make_net, make_image, make_segmenter, channels):
    segmenter = make_segmenter(make_net(in_channels=channels or 1, **SMALL), tile=TILE)
    image = make_image(70, 90, channels)
    assert difference(segmenter.probabilities(image / np.float32(255)), segmenter.probabilities(image)) <= 1e-5


def test_zscored_16_bits_give_what_the_same_8_bits_give(make_net, make_image, make_segmenter):
    segmenter = make_segmenter(make_net(**SMALL), preprocessing={"normalisation": "zscore"})
    image = make_image(70, 90)
    assert difference(segmenter.probabilities(image * np.uint16(257)), segmenter.probabilities(image)) <= 1e-5


def test_a_grey_net_takes_colour_and_a_colour_net_grey(make_net, make_image, make_segmenter):
    grey = make_image(40, 50)
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    for in_channels in (1, 3):
        segmenter = make_segmenter(make_net(in_channels=in_channels, **SMALL))
        assert np.array_equal(segmenter.probabilities(grey), segmenter.probabilities(colour))


@pytest.mark.parametrize("channels", [0, 3, 6])
def test_a_wrong_channel_count_is_refused_with_both_numbers(make_net, make_image, make_segmenter, channels):
    segmenter = make_segmenter(make_net(in_channels=5, **SMALL))
    with pytest.raises(ValueError, match=f"^the net takes 5 channels, the image has {channels or 1}$"):
        segmenter.probabilities(make_image(20, 20, channels))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.float64),
        np.zeros((8, 8), np.int16),
        np.zeros((8, 8), bool),
        np.zeros(8, np.uint8),
        np.zeros((1, 8, 8, 1), np.uint8),
        np.zeros((0, 8), np.uint8),
        np.zeros((8, 8, 0), np.uint8),
    ],
)
def test_bytes_without_an_image_are_refused(make_net, make_segmenter, image):
    with pytest.raises(ValueError, match="an image is H x W or H x W x C, uint8, uint16 or float32, not"):
        make_segmenter(make_net(**SMALL)).probabilities(image)


@pytest.mark.parametrize("tile", [0, 48, 63, -64])
def test_a_tile_that_does_not_suit_the_net_is_refused_at_once(make_net, make_segmenter, tile):
    with pytest.raises(ValueError, match=f"multiple of 4 and more than 56 pixels, not {tile}"):
        make_segmenter(make_net(**SMALL), tile=tile)


@pytest.mark.parametrize("max_batch", [2, 3, 8, 100])
def test_how_many_tiles_run_at_once_makes_no_difference(make_net, make_image, make_segmenter, max_batch):
    net, image = make_net(**SMALL), make_image(40, 300)
    one, many = (make_segmenter(net, tile=TILE, max_batch=count) for count in (1, max_batch))
    assert difference(many.probabilities(image), one.probabilities(image)) <= 1e-5


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 64), 1), ((60, 32), 2), ((16, 16), 8), ((1, 1), 8), ((200, 200), 1)]
)
def test_batches_respect_the_pixel_and_the_tile_limit(make_net, make_image, make_segmenter, size, expected):
    segmenter = make_segmenter(make_net(**SMALL), tile=TILE, max_batch=8)
    segmenter.engine.batch_pixels = TILE * TILE
    assert segmenter.batch_size(segmenter.task(make_image(*size)).tiles[0]) == expected


def test_a_coarser_scale_gives_larger_batches(make_net, make_image, make_segmenter):
    sizes = []
    for downsampling in (1, 2):
        segmenter = make_segmenter(make_net(depth=2, downsampling=downsampling))
        sizes.append(segmenter.batch_size(segmenter.task(make_image(512, 512)).tiles[0]))
    assert sizes == [1, 4]


def test_tiles_of_several_images_may_be_run_together_and_in_any_order(make_net, make_image, make_segmenter):
    segmenter = make_segmenter(make_net(**SMALL), tile=TILE)
    images = [make_image(100, 150, seed=seed) for seed in (1, 2)]
    tasks = [segmenter.task(image) for image in images]
    work = [(task, tile) for task in tasks for tile in task.tiles]
    np.random.default_rng(0).shuffle(work)
    for kept in {tile.kept for _, tile in work}:
        alike = [(task, tile) for task, tile in work if tile.kept == kept]
        assert len(alike) > 1
        segmenter.compute_batch(alike)
    for image, task in zip(images, tasks, strict=True):
        assert difference(task.result, segmenter.probabilities(image)) <= 1e-5


def test_a_render_decides_what_is_kept_of_an_image(make_net, make_image, make_segmenter):
    segmenter, image = make_segmenter(make_net(classes=3, **SMALL), tile=TILE), make_image(100, 150)
    probabilities = segmenter.probabilities(image)
    last = segmenter.render(image, lambda part: (part[2] * 255).astype(np.uint8))
    assert last.dtype == np.uint8
    assert np.array_equal(last, (probabilities[2] * 255).astype(np.uint8))
    pair = segmenter.render(image, lambda part: part[:2])
    assert np.array_equal(pair, probabilities[:2])


def test_the_image_is_left_as_it_was_and_may_be_a_read_only_view(make_net, make_image, make_segmenter):
    segmenter = make_segmenter(make_net(in_channels=3, **SMALL), tile=TILE)
    image = make_image(160, 140, 3)[::2, ::-1]
    image.flags.writeable = False
    before = image.copy()
    assert np.array_equal(segmenter.probabilities(image), segmenter.probabilities(before))
    assert np.array_equal(image, before)


def test_the_stored_threshold_holds_unless_another_is_given(make_net, make_image, make_segmenter):
    segmenter, image = make_segmenter(make_net(**SMALL), threshold=0.3), make_image(60, 60)
    [probabilities] = segmenter.probabilities(image)
    assert 0 < (probabilities >= 0.3).sum() != (probabilities >= 0.7).sum()
    assert np.array_equal(segmenter.mask(image) == 255, probabilities >= np.float32(0.3))
    assert np.array_equal(segmenter.mask(image, 0.7) == 255, probabilities >= np.float32(0.7))


def test_a_mask_of_several_classes_holds_the_most_probable_ones_index(make_net, make_image, make_segmenter):
    segmenter, image = make_segmenter(make_net(classes=5, **SMALL)), make_image(60, 80)
    probabilities, mask = segmenter.probabilities(image), segmenter.mask(image, 0.99)
    assert mask.dtype == np.uint8
    assert len(np.unique(mask)) > 2
    chosen = np.take_along_axis(probabilities, mask[None].astype(np.int64), axis=0)
    assert (chosen == probabilities.max(axis=0)).all()


@pytest.mark.parametrize(
    ("probability", "threshold", "expected"), [(0.5, 0.5, 255), (0.1, 0.1, 255), (0.3, 0.5, 0), (0.6, 0.5, 255)]
)
def test_a_probability_on_the_threshold_is_foreground(probability, threshold, expected):
    mask = to_mask(np.full((1, 2, 3), probability, np.float32), threshold)
    assert mask.shape == (2, 3)
    assert mask.dtype == np.uint8
    assert (mask == expected).all()


def test_255_classes_fit_into_a_mask():
    probabilities = np.zeros((256, 2, 2), np.float32)
    probabilities[255] = 1
    assert (to_mask(probabilities, 0.5) == 255).all()


def test_a_weights_file_is_all_that_is_needed(weights_path, make_image):
    segmenter = Segmenter.load(weights_path, device="cpu", precision="fp32", tile=256)
    assert segmenter.description.threshold == 0.4
    image = make_image(50, 50)
    assert np.array_equal(segmenter.mask(image), to_mask(segmenter.probabilities(image), 0.4))


def test_loading_says_what_is_wrong(weights_path, tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        Segmenter.load(tmp_path / "none")
    with pytest.raises(EngineError, match="device 'abacus'"):
        Segmenter.load(weights_path, device="abacus")
    with pytest.raises(ValueError, match="tile must be"):
        Segmenter.load(weights_path, device="cpu", tile=100)
