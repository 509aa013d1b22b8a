import numpy as np
import pytest
from pydantic import ValidationError

from model.inputs.preprocessing import Preprocessing


def net_input(preprocessing, image):
    """What the net sees: C x H x W."""
    arranged = preprocessing.arrange(image)
    return preprocessing.affine(arranged).apply(arranged)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("channels", "grey", "rgb", "stored"), [(0, 1, 3, 1), (1, 1, 3, 1), (2, 1, 3, 2), (3, 1, 3, 3), (4, 1, 3, 4)]
)
def test_each_kind_of_image_gives_the_channels_the_net_takes(make_image, dtype, channels, grey, rgb, stored):
    image = make_image(5, 7, channels, dtype)
    for wanted, count in (("grey", grey), ("rgb", rgb), ("stored", stored)):
        arranged = Preprocessing(channels=wanted).arrange(image)
        assert arranged.shape == (5, 7, count)
        assert arranged.dtype == dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_to_grey_weighs_red_green_and_blue_as_the_eye_does(make_image, dtype):
    image = make_image(20, 30, 3, dtype)
    grey = Preprocessing(channels="grey").arrange(image)[:, :, 0]
    assert np.abs(grey - image @ np.array([0.299, 0.587, 0.114])).max() <= 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_picture_stored_as_colour_gives_its_grey_values_exactly(make_image, dtype):
    image = make_image(40, 30, dtype=dtype)
    colour = np.repeat(image[:, :, None], 3, axis=2)
    assert np.array_equal(Preprocessing(channels="grey").arrange(colour)[:, :, 0], image)


def test_grey_is_repeated_for_a_colour_net(make_image):
    image = make_image(6, 9)
    assert np.array_equal(Preprocessing(channels="rgb").arrange(image), np.stack([image] * 3, axis=-1))


@pytest.mark.parametrize("channels", ["grey", "rgb"])
@pytest.mark.parametrize("colours", [1, 3])
def test_alpha_does_not_matter(make_image, channels, colours):
    image = make_image(8, 8, colours)
    with_alpha = np.concatenate([image, make_image(8, 8, 1, seed=1)], axis=2)
    preprocessing = Preprocessing(channels=channels)
    assert np.array_equal(preprocessing.arrange(with_alpha), preprocessing.arrange(image))


def test_stored_channels_keep_their_order(make_image):
    image = make_image(4, 4, 6)
    assert np.array_equal(Preprocessing(channels="stored").arrange(image), image)


@pytest.mark.parametrize(
    ("scaling", "dtype", "pixel", "expected"),
    [
        ("unit", np.uint8, 255, 1.0),
        ("unit", np.uint16, 65535, 1.0),
        ("unit", np.uint16, 257, 1 / 255),
        ("raw", np.uint8, 255, 255.0),
        ("raw", np.uint8, 7, 7.0),
        ("raw", np.uint16, 65535, 255.0),
        ("raw", np.uint16, 7 * 257, 7.0),
        ("raw", np.uint16, 0, 0.0),
        ("unit", np.float32, 0.25, 0.25),
    ],
)
def test_the_full_range_is_scaled_never_clipped(scaling, dtype, pixel, expected):
    values = net_input(Preprocessing(scaling=scaling), np.full((2, 2), pixel, dtype))
    assert values.dtype == np.float32
    assert (values == np.float32(expected)).all()


@pytest.mark.parametrize("scaling", ["unit", "raw"])
def test_every_8_bit_value_gives_the_same_input_as_its_16_bit_equal(scaling):
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    preprocessing = Preprocessing(scaling=scaling)
    assert np.array_equal(net_input(preprocessing, every), net_input(preprocessing, every * np.uint16(257)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_zscore_centres_and_scales_each_channel(make_image, dtype):
    image = make_image(50, 60, 6, dtype)
    image[:, :, 2] //= 3
    values = net_input(Preprocessing(channels="stored", normalisation="zscore"), image)
    assert np.abs(values.mean(axis=(1, 2))).max() < 1e-5
    assert np.abs(values.std(axis=(1, 2)) - 1).max() < 1e-5


def test_zscore_undoes_brightness_and_contrast(make_image):
    image = make_image(30, 30) // 4
    preprocessing = Preprocessing(normalisation="zscore")
    assert np.abs(net_input(preprocessing, image * 3 + 20) - net_input(preprocessing, image)).max() < 1e-5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (30, 40)])
def test_zscore_of_a_flat_image_is_zero_everywhere(dtype, size):
    assert (net_input(Preprocessing(normalisation="zscore"), np.full(size, 200, dtype)) == 0).all()


def test_zscore_does_not_blow_up_the_noise_of_a_flat_16_bit_image():
    image = 30_000 + np.random.default_rng(0).integers(0, 4, (40, 40)).astype(np.uint16)
    assert np.abs(net_input(Preprocessing(normalisation="zscore"), image)).max() < 0.1


def test_zscore_stretches_dark_16_bit_images(make_image):
    dim = make_image(40, 40).astype(np.uint16) + 200
    values = net_input(Preprocessing(normalisation="zscore"), dim)
    assert np.abs(values - net_input(Preprocessing(normalisation="zscore"), dim * 100)).max() < 1e-5


def test_zscore_of_a_large_bright_image_does_not_overflow():
    image = np.full((3000, 3000), 65535, np.uint16)
    image[::2] = 65000
    values = net_input(Preprocessing(normalisation="zscore"), image)
    assert np.abs(np.abs(values) - 1).max() < 1e-3


def test_the_map_of_an_image_is_the_same_for_each_part_of_it(make_image):
    image = Preprocessing(channels="rgb").arrange(make_image(40, 40, 3))
    affine = Preprocessing(channels="rgb", normalisation="zscore").affine(image)
    assert np.array_equal(affine.apply(image[7:20, 5:9]), affine.apply(image)[:, 7:20, 5:9])


@pytest.mark.parametrize("made", [{"scaling": "unit"}, {"scaling": "raw"}, {"normalisation": "zscore"}], ids=str)
def test_floats_in_0_to_1_give_the_same_mask_as_8_bits(make_image, made):
    image = make_image(20, 30, 1)
    numbers = image / np.float32(255)
    before = numbers.copy()
    preprocessing = Preprocessing(**made)
    assert np.allclose(net_input(preprocessing, numbers), net_input(preprocessing, image), rtol=1e-6, atol=1e-5)
    assert np.array_equal(numbers, before)


@pytest.mark.parametrize("normalisation", ["none", "zscore"])
@pytest.mark.parametrize("channels", ["grey", "rgb", "stored"])
def test_a_view_of_a_read_only_image_is_not_changed(make_image, normalisation, channels):
    image = make_image(20, 30, 3)[::2, ::-1]
    image.flags.writeable = False
    before = image.copy()
    preprocessing = Preprocessing(channels=channels, normalisation=normalisation)
    values = net_input(preprocessing, image)
    assert values.flags.c_contiguous
    assert values.flags.writeable
    assert np.array_equal(image, before)
    assert np.array_equal(values, net_input(preprocessing, np.ascontiguousarray(image)))


@pytest.mark.parametrize(
    "settings", [{"channels": "bgr"}, {"scaling": "half"}, {"normalisation": "minmax"}, {"mean": 0.5}]
)
def test_an_unknown_setting_is_refused_by_name(settings):
    [name] = settings
    with pytest.raises(ValidationError, match=name):
        Preprocessing(**settings)
