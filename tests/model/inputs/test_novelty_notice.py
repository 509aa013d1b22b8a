"""Tests the sentence about an unlike image: when it is there, and what it names."""

import numpy as np
import pytest

from model.inputs.known_images import KnownImages
from model.inputs.novelty_notice import novelty_notice
from model.inputs.preprocessing import Preprocessing, Values
from tests.support.pictures import blobs, tinted

GREY = Preprocessing(normalisation="zscore")
RGB = Preprocessing(channels="rgb", normalisation="zscore")
BEGINNING = "The image looks unlike the images that cells was trained on: "


def notice(*pages, preprocessing=GREY, known=None) -> str:
    images = known or [blobs(seed, grain=16) for seed in range(12)]
    made = KnownImages.of(images, preprocessing)
    assert made
    return novelty_notice("cells", made, preprocessing, pages)


def test_usual_image_has_no_notice():
    assert notice(blobs(50)) == ""


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (blobs(50, grain=4), "finer structures"),
        (blobs(50, grain=64), "coarser structures"),
        (np.full((128, 128), 80, np.uint8), "hardly any structure"),
        (np.where(blobs(50) > 170, 255, 20).astype(np.uint8), "bright parts on a darker ground"),
        (np.where(blobs(50) < 60, 0, 220).astype(np.uint8), "dark parts on a brighter ground"),
        (tinted(blobs(50, grain=4)), "colour where they are grey"),
    ],
)
def test_difference_is_named(image, named):
    found = notice(image)
    assert found.startswith(BEGINNING)
    assert named in found


@pytest.mark.parametrize(("known", "image", "named"), [
    (lambda seed: tinted(blobs(seed)), np.dstack([blobs(50)] * 3), "grey where they are in colour"),
    (lambda seed: np.dstack([blobs(seed)] * 3), tinted(blobs(50)), "colour where they are grey"),
    (lambda seed: tinted(blobs(seed)), tinted(blobs(50))[:, ::-1, ::-1], "other colours"),
])  # fmt: skip
def test_difference_of_colour_is_named_for_a_net_of_colours(known, image, named):
    assert named in notice(image, preprocessing=RGB, known=[known(seed) for seed in range(12)])


def test_brightness_is_named_for_a_net_that_depends_on_it():
    unscaled = Preprocessing()
    known = [blobs(seed) // 2 for seed in range(12)]
    assert "a brighter picture" in notice(blobs(50) // 2 + 120, preprocessing=unscaled, known=known)
    assert notice(blobs(50) // 2, preprocessing=unscaled, known=known) == ""


def test_images_of_a_12_bit_camera_are_known_by_the_bits_in_use():
    unscaled, known = Preprocessing(), [blobs(seed).astype(np.uint16) * 16 + 3 for seed in range(12)]
    made = KnownImages.of(known, unscaled)
    assert made
    for bits in (0, 12):  # found from the image, and as the service states them
        assert novelty_notice("cells", made, unscaled, known[:3], bits) == ""


def test_one_unlike_page_of_a_stack_is_no_reason_for_a_notice():
    usual, unlike = blobs(50), blobs(50, grain=4)
    assert notice(unlike, usual, usual) == ""
    assert notice(unlike, unlike, usual)


def test_only_a_few_pages_of_a_stack_are_looked_at():
    looked_at = list[int]()

    class Pages(list[Values]):
        def __getitem__(self, index):
            looked_at.append(index)
            return super().__getitem__(index)

    made = KnownImages.of([blobs(seed) for seed in range(12)], GREY)
    assert made
    novelty_notice("cells", made, GREY, Pages([blobs(50)] * 100))
    assert looked_at == [0, 49, 99]


@pytest.mark.parametrize(("side", "expected"), [(32, False), (64, False), (128, True)])
def test_image_much_smaller_than_the_training_images_has_no_notice(side, expected):
    known = [blobs(seed, side=256, grain=16) for seed in range(12)]
    assert bool(notice(blobs(50, side=side, grain=4), known=known)) == expected
