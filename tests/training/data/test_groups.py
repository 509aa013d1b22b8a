"""Groups of images found from their names."""

import pytest

from training.data.groups import group_names
from training.data_error import DataError


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["0016E5_00390", "0016E5_00400", "0006R0_f00960", "0006R0_f00970"], ["0016E5", "0006R0"]),
        ([f"patient{p}_slice{s}" for p in (1, 2, 3) for s in range(4)], ["patient1", "patient2", "patient3"]),
        ([f"patient_{p}_slice_{s}" for p in (1, 2) for s in range(4)], ["patient_1", "patient_2"]),
        ([f"slide{s}-tile_00{x}_00{y}" for s in "AB" for x in range(3) for y in range(3)], ["slideA", "slideB"]),
        ([f"{stack}[{page}]" for stack in ("left", "right") for page in range(5)], ["left", "right"]),
        ([f"patient{p}/img_{i}" for p in (1, 2) for i in range(3)], ["patient1", "patient2"]),
        ([f"train/p{p}_{i}" for p in (1, 2) for i in range(3)], ["train/p1", "train/p2"]),
        ([f"{town}_{n:06}_000019_leftImg8bit" for town in ("aachen", "ulm") for n in range(3)], ["aachen", "ulm"]),
        ([f"Image_{child:02}{eye}" for child in (1, 2, 3) for eye in "LR"], ["Image_01", "Image_02", "Image_03"]),
        ([f"vol{v}{n}" for v in "AB" for n in range(3)], ["volA", "volB"]),
    ],
)
def test_groups_are_found_from_names(names, groups):
    found = group_names(names)
    assert found.source == "names"
    assert list(found.groups) == groups
    assert sorted(index for members in found.groups.values() for index in members) == list(range(len(names)))


@pytest.mark.parametrize(
    "names",
    [
        [f"{n}" for n in range(1, 40, 2)],
        [f"img_t{n:03}" for n in range(9)],
        [f"volume[{n}]" for n in range(9)],
        [f"{n}_training" for n in range(21, 41)],
        [f"frame ({n})" for n in range(9)],
        ["a_1", *(f"b_{n}" for n in range(20))],
    ],
)
def test_one_series_has_an_order_and_no_groups(names):
    assert group_names(names).source == "order"
    assert group_names(names).groups == {}


@pytest.mark.parametrize(
    "names",
    [
        ["00071198d059", "00ae65c1c663", "0287e7ee5b00", "02903040e19d", "0402a81e7526", "072ff14c1d32"],
        ["heron", "ibis", "jay", "kite"],
    ],
)
def test_names_such_as_hashes_have_no_order(names):
    assert group_names(names).source == "none"


def test_pattern_groups_by_its_first_capture_group_or_the_whole_match():
    names = ["m1_day1", "m1_day2", "m2_day1"]
    assert group_names(names, r"_(day\d)").groups == {"day1": [0, 2], "day2": [1]}
    assert group_names(names, r"^m\d").groups == {"m1": [0, 1], "m2": [2]}


def test_name_that_the_pattern_does_not_match_is_named():
    with pytest.raises(DataError, match=r"--group m\(\\d\): no match in the image name 'control'"):
        group_names(["m1_0", "control"], r"m(\d)")


def test_pattern_with_one_group_for_all_images_is_refused():
    with pytest.raises(DataError, match="--group m: all 2 images are in one group, 'm'"):
        group_names(["m1", "m2"], "m")
