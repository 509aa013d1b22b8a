from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.images.channels import NoSuchChannel
from model.images.decoding import ImageFile
from model.images.encoding import encode_png
from model.inputs.known_images import KnownImages
from model.inputs.net_input import NetInput, read_input
from model.inputs.preprocessing import Preprocessing
from model.segmenter import Segmenter
from model.unet import UNetConfig
from model.weights_file import Description, load_weights
from tests.support.image_files import GREY, GREY16, RGB, pillow, tiff
from tests.support.pictures import blobs


def net(normalisation: Any = "zscore", channels: Any = "grey", taken: int = 1, scaling: Any = "unit") -> Description:
    return Description(
        name="net",
        architecture=UNetConfig(in_channels=taken),
        preprocessing=Preprocessing(normalisation=normalisation, channels=channels, scaling=scaling),
    )


def read(data: bytes, description: Description, channel: str = "") -> NetInput:
    return read_input(ImageFile.read(data), description, channel)


TWO = tiff(np.stack([GREY, 255 - GREY]), ome=True, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}})


def test_of_several_channels_the_first_is_used_with_a_notice():
    given = read(TWO, net())
    assert np.array_equal(given.pages[0], GREY)
    assert given.channel == 0
    assert given.notices == (
        "The image has 2 channels: 0 (DAPI), 1 (GFP). Channel 0 was used; choose another by its number or name.",
    )


@pytest.mark.parametrize("channel", ["1", "GFP"])
def test_a_chosen_channel_needs_no_notice(channel):
    given = read(TWO, net(), channel)
    assert np.array_equal(given.pages[0], 255 - GREY)
    assert (given.channel, given.notices) == (1, ())


def test_a_net_of_as_many_channels_gets_all_of_them():
    given = read(TWO, net(channels="stored", taken=2))
    assert np.array_equal(given.pages[0], np.stack([GREY, 255 - GREY], axis=-1))
    assert (given.channel, given.notices) == (None, ())


def test_a_channel_that_does_not_exist_is_an_error():
    with pytest.raises(NoSuchChannel, match="no channel '2'"):
        read(TWO, net(), "2")


@pytest.mark.parametrize("name", ["png", "tiff"])
def test_a_plain_file_has_no_notices_and_its_own_pages(name):
    data = pillow(RGB, "PNG") if name == "png" else tiff(RGB, photometric="rgb")
    given = read(data, net())
    assert (given.notices, given.channel, tuple(given.file_pages), given.pixel_size) == ((), None, (), None)


def test_the_pages_of_a_channel_have_their_numbers_in_the_file():
    stack = np.broadcast_to(np.arange(6, dtype=np.uint8).reshape(3, 2, 1, 1), (3, 2, 8, 8))
    given = read(tiff(stack, imagej=True, metadata={"axes": "ZCYX"}), net(), "1")
    assert list(given.file_pages) == [1, 3, 5]


def test_scaled_values_have_a_notice_for_raw_nets_only():
    data = tiff(GREY.astype(np.float32) - 20)
    assert read(data, net()).notices == ()
    [notice] = read(data, net("none")).notices
    assert notice == "Pixel values from -20 to 235 were scaled to the full range of the net."


@pytest.mark.parametrize(("values", "bits"), [(GREY16 >> 4, 12), (GREY16 >> 6, 10), (GREY.astype(np.uint16), 8)])
def test_bits_in_use_of_16_are_found(values, bits):
    given = read(tiff(values), net("none"))
    assert given.bits == bits
    assert given.notices[0].startswith(f"Pixel values use {bits} of 16 bits")
    assert read(tiff(values), net()).notices == ()


@pytest.mark.parametrize("values", [GREY16, GREY.astype(np.uint16) // 8 * 257, GREY.astype(np.uint16) // 8 * 256])
def test_full_16_bits_and_8_bits_spread_over_16_are_left_alone(values):
    assert (read(tiff(values), net("none")).bits, read(tiff(values), net("none")).notices) == (16, ())


def test_a_dark_page_of_a_stack_is_scaled_like_its_brightest():
    dark, bright = np.full((9, 9), 100, np.uint16), np.full((9, 9), 4000, np.uint16)
    assert read(tiff(np.stack([dark, bright]), photometric="minisblack"), net("none")).bits == 12


@pytest.mark.parametrize(("stated", "bits"), [(14, 14), (16, 12), (8, 12)])
def test_stated_bits_count_if_they_are_more_than_those_seen(stated, bits):
    metadata = {"axes": "YX", "SignificantBits": stated}
    assert read(tiff(GREY16 >> 4, ome=True, metadata=metadata), net("none")).bits == bits


def test_12_bits_in_16_give_a_raw_net_the_mask_of_8_bits(
    make_net: Callable[..., Any], make_segmenter: Callable[..., Segmenter], make_image: Callable[..., Any]
):
    segmenter = make_segmenter(make_net(), preprocessing={"scaling": "raw"})
    eight = make_image(40, 50)
    files = {"12": tiff(eight.astype(np.uint16) * 16), "8": tiff(eight), "8 in 16": tiff(eight.astype(np.uint16))}
    found = {}
    for name, data in files.items():
        given = read(data, segmenter.description)
        found[name] = segmenter.render(given.pages[0], lambda probabilities: probabilities[0], given.bits)
    assert np.abs(found["12"] - found["8"]).max() < 0.02
    assert np.abs(found["8 in 16"] - found["8"]).max() < 0.02


def test_image_unlike_the_training_images_has_a_notice():
    known = KnownImages.of([blobs(seed) for seed in range(9)], net().preprocessing)
    description = net().model_copy(update={"known_images": known})
    assert read(encode_png(blobs(50)), description).notices == ()
    (notice,) = read(encode_png(blobs(50, grain=4)), description).notices
    assert notice == "The image looks unlike the images that net was trained on: finer structures."


def test_example_image_is_known_to_the_bundled_net():
    example = Path(__file__).parents[3] / "docs" / "example.png"
    assert read(example.read_bytes(), load_weights().description).notices == ()
