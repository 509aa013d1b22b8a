import cv2
import numpy as np
import pytest

from training.data.augmentation import Augmentation, Label, Planes, Random, draw_warp, flips, photometric


def _blobs(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image that is its own label, so that the two can be compared after a warp."""
    y, x = np.mgrid[:height, :width]
    label = ((np.sin(x / 7) + np.cos(y / 9)) > 0).astype(np.uint8)
    return label[None].astype(np.float32), label


def test_flips_are_the_four_and_keep_image_and_label_together():
    planes, label = _blobs(12, 20)
    seen = set()
    for seed in range(40):
        turned, target = flips(planes, label, np.random.default_rng(seed))
        assert (turned[0] == target).all()
        seen.add(target.tobytes())
    assert seen == {label[::a, ::b].tobytes() for a in (1, -1) for b in (1, -1)}


def warped_crop(planes: Planes, label: Label, side: int, strength: Augmentation, rng: Random) -> tuple[Planes, Label]:
    warp = draw_warp((label.shape[0], label.shape[1]), (side, side), strength, rng)
    return warp.planes(planes[:, warp.rows, warp.columns]), warp.label(label[warp.rows, warp.columns])


@pytest.mark.parametrize("size", [(200, 300), (64, 64), (40, 500), (1, 1)])
def test_a_warped_crop_has_its_size_and_keeps_image_and_label_together(size):
    planes, label = _blobs(*size)
    for seed in range(5):
        crop, target = warped_crop(planes, label, 96, Augmentation(), np.random.default_rng(seed))
        assert crop.shape == (1, 96, 96)
        assert target.shape == (96, 96)
        assert ((crop[0] > 0.5) == target).mean() > 0.97


def test_warps_differ_by_seed_and_only_by_it():
    planes, label = _blobs(200, 200)
    first, again, other = (
        warped_crop(planes, label, 64, Augmentation(), np.random.default_rng(seed))[0] for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_photometric_changes_stay_finite_on_a_flat_image(value):
    for seed in range(20):
        changed = photometric(np.full((1, 32, 32), value, np.float32), Augmentation(), np.random.default_rng(seed))
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()


def test_photometric_changes_scale_with_the_image():
    planes = np.random.default_rng(0).normal(0, 1, (1, 64, 64)).astype(np.float32)
    for seed in range(10):
        one, ten = (photometric(scale * planes, Augmentation(), np.random.default_rng(seed)) for scale in (1, 10))
        assert np.allclose(10 * one, ten, rtol=1e-3, atol=1e-2)


NONE = Augmentation(scale=1, elastic=0, blur=0, gamma=0, noise=0, brightness=0, contrast=0, blotches=0)


def test_blotches_change_only_the_pixels_under_them():
    planes = np.random.default_rng(0).normal(0, 1, (1, 128, 128)).astype(np.float32)
    blotches = NONE.model_copy(update={"blotches": 2.0})
    changed = [photometric(planes, blotches, np.random.default_rng(seed)) for seed in range(20)]
    hidden = [np.mean(one != planes) for one in changed]
    assert hidden.count(0) not in (0, 20), "at times"
    assert max(hidden) < 0.7
    assert min(np.abs(one - planes)[one != planes].mean() for one in changed if (one != planes).any()) > 0.1


def test_elastic_deformation_bends_gently():
    """The strain of the U-Net paper's grid, and none of the crops torn or folded."""
    bent = NONE.model_copy(update={"elastic": Augmentation().elastic})
    for seed in range(20):
        warp = draw_warp((512, 512), (256, 256), bent, np.random.default_rng(seed))
        (x_down, x_along), (y_down, y_along) = np.gradient(warp.x), np.gradient(warp.y)
        area = np.abs(x_along * y_down - x_down * y_along)  # 1 where nothing is stretched
        assert 0.02 < area.std() < 0.2
        assert area.min() > 0.3


def test_without_strength_only_turns_and_mirrors_are_left():
    planes = np.random.default_rng(0).normal(0, 1, (1, 64, 64)).astype(np.float32)
    for seed in range(10):
        assert np.allclose(photometric(planes, NONE, np.random.default_rng(seed)), planes, atol=1e-5)
    ramp = np.broadcast_to(np.linspace(0, 1, 65, dtype=np.float32), (1, 65, 65))
    crop, _ = warped_crop(ramp, (ramp[0] > 0.5).astype(np.uint8), 33, NONE, np.random.default_rng(3))
    steepness = np.hypot(*np.gradient(crop[0])[:2])[1:-1, 1:-1]
    straight = np.isclose(steepness, 1 / 64, rtol=1e-2)  # but where the image is mirrored at its edge
    assert straight.mean() > 0.9, "neither stretched nor bent"


def test_a_crop_is_cut_from_a_window_as_from_the_whole_image():
    planes, _ = _blobs(300, 700)
    for seed in range(20):
        warp = draw_warp((300, 700), (64, 64), Augmentation(), np.random.default_rng(seed))
        assert warp.rows.stop - warp.rows.start < 200
        x, y = warp.x + warp.columns.start, warp.y + warp.rows.start
        whole = cv2.remap(planes[0], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        crop = warp.planes(planes[:, warp.rows, warp.columns])[0]
        assert np.isclose(crop, whole, atol=0.05).mean() > 0.999


def test_images_wider_than_opencv_can_warp_are_cropped():
    label = np.zeros((8, 40000), np.uint8)
    warp = draw_warp((8, 40000), (32, 32), Augmentation(), np.random.default_rng(0))
    assert warp.label(label[warp.rows, warp.columns]).shape == (32, 32)


def test_a_warp_creates_no_new_classes():
    label = (_blobs(200, 200)[1] * 2 + _blobs(200, 200)[1].T) % np.uint8(4)
    for seed in range(5):
        _, target = warped_crop(label[None].astype(np.float32), label, 64, Augmentation(), np.random.default_rng(seed))
        assert target.dtype == np.uint8
        assert set(np.unique(target)) <= set(np.unique(label))
