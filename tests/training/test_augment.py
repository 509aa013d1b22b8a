import numpy as np
import pytest

from training.augment import Augmentation, flips, photometric, warped_crop


def _blobs(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image that is its own label, so that the two can be compared after a warp."""
    y, x = np.mgrid[:height, :width]
    label = (np.sin(x / 7) + np.cos(y / 9)) > 0
    return label[None].astype(np.float32), label


def test_flips_are_the_four_and_keep_image_and_label_together():
    planes, label = _blobs(12, 20)
    seen = set()
    for seed in range(40):
        turned, target = flips(planes, label, np.random.default_rng(seed))
        assert (turned[0] == target).all()
        seen.add(target.tobytes())
    assert seen == {label[::a, ::b].tobytes() for a in (1, -1) for b in (1, -1)}


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


def test_without_strength_only_turns_and_mirrors_are_left():
    none = Augmentation(scale=1, elastic=0, blur=0, gamma=0, noise=0, brightness=0, contrast=0)
    planes = np.random.default_rng(0).normal(0, 1, (1, 64, 64)).astype(np.float32)
    for seed in range(10):
        assert np.allclose(photometric(planes, none, np.random.default_rng(seed)), planes, atol=1e-5)
    ramp = np.broadcast_to(np.linspace(0, 1, 65, dtype=np.float32), (1, 65, 65))
    crop, _ = warped_crop(ramp, ramp[0] > 0.5, 33, none, np.random.default_rng(3))
    steepness = np.hypot(*np.gradient(crop[0])[:2])[1:-1, 1:-1]
    straight = np.isclose(steepness, 1 / 64, rtol=1e-2)  # but where the image is mirrored at its edge
    assert straight.mean() > 0.9, "neither stretched nor bent"
