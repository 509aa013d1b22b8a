import numpy as np
import pytest

from model.images.channels import NoSuchChannel, channel_titles, find_channel, list_channels
from model.images.decoding import ImageFile
from tests.support.image_files import GREY, RGB, RGBA, pillow


@pytest.mark.parametrize(("wanted", "index"), [("0", 0), ("1", 1), ("GFP", 1), ("dapi", 0)])
def test_a_channel_has_a_number_and_a_name(wanted, index):
    assert find_channel(wanted, ("DAPI", "GFP")) == index


def test_a_number_that_counts_a_channel_goes_before_a_name():
    assert find_channel("488", ("561", "488")) == 1
    assert [find_channel(wanted, ("1", "2")) for wanted in ("0", "1", "2")] == [0, 1, 1]


@pytest.mark.parametrize(
    ("names", "titles"),
    [
        (("DAPI", "GFP\n"), ["DAPI", "GFP_"]),
        (("A", "A", "1"), ["0", "1", "2"]),
        (("x" * 40 + "405", "x" * 40 + "488"), ["0", "1"]),
    ],
)
def test_titles_of_channels_are_short_and_never_equal(names, titles):
    assert channel_titles(names) == titles


@pytest.mark.parametrize("wanted", ["2", "-1", "red", "", "x" * 1000])
def test_other_channels_are_refused_with_a_list(wanted):
    with pytest.raises(NoSuchChannel, match=r"Its channels are 0 \(DAPI\), 1 \(GFP\)\.$"):
        find_channel(wanted, ("DAPI", "GFP"))


def test_long_lists_are_cut():
    assert list_channels([str(index) for index in range(300)]).endswith("18, 19, ...")


@pytest.mark.parametrize("channel", ["red", "0", "Green", "1", "blue", "2"])
@pytest.mark.parametrize("pixels", [RGB, RGBA])
def test_a_colour_is_a_channel_of_an_rgb_file(pixels, channel):
    [page] = ImageFile.read(pillow(pixels, "PNG")).decode(channel).pages
    assert np.array_equal(page, RGB[:, :, "rgb012".index(channel[0].lower()) % 3])


def test_a_grey_file_has_only_channel_0():
    file = ImageFile.read(pillow(GREY, "PNG"))
    assert np.array_equal(file.decode("0").pages[0], GREY)
    with pytest.raises(NoSuchChannel, match="It has one channel, 0"):
        file.decode("red")
