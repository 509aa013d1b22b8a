from pathlib import Path

import cv2
import numpy as np
import pytest

from training import synthetic
from training.data.fingerprint import Fingerprint, take_fingerprint
from training.data.folder import IGNORED, Sample, load_samples


def discs(radius: int, count: int = 4, size: int = 128, seed: int = 0) -> Sample:
    """A grey image of bright discs of one size, which may overlap, with its label."""
    rng = np.random.default_rng(seed)
    label = np.zeros((size, size), np.uint8)
    for x, y in rng.integers(radius, size - radius, (count, 2)).tolist():
        cv2.circle(label, (x, y), radius, 1, -1)
    pixels = (80 * label + rng.integers(0, 40, label.shape)).astype(np.uint8)
    return Sample(f"discs{seed}", pixels, label)


def scene(seed: int) -> Sample:
    """An RGB image of a bright sky above a dark ground, with classes 1 and 2."""
    rng = np.random.default_rng(seed)
    horizon = int(rng.integers(20, 44))
    label = np.full((64, 80), 2, np.uint8)
    label[:horizon] = 1
    pixels = np.where(label == 1, 200, 60)[:, :, None] + rng.integers(0, 30, (64, 80, 3))
    return Sample(f"scene{seed}", pixels.astype(np.uint8), label)


@pytest.mark.parametrize("radius", [3, 8, 20])
def test_object_width_is_the_diameter_of_separate_discs(radius):
    found = take_fingerprint([discs(radius, count=1, seed=seed) for seed in range(3)], classes=1)
    assert found.object_width == pytest.approx(2 * radius, rel=0.25)


def test_object_width_of_touching_objects_comes_from_their_ids():
    label = np.ones((20, 60), np.uint8)
    ids = np.repeat([[1, 2, 3, 4, 5, 6]], 10, axis=1).repeat(20, axis=0).astype(np.int32)
    apart = take_fingerprint([Sample("a", label, label, ids=ids)], classes=1)
    assert apart.instances
    assert apart.object_width <= take_fingerprint([Sample("a", label, label)], classes=1).object_width


def test_upright_scenes_are_told_from_images_without_orientation():
    assert take_fingerprint([scene(seed) for seed in range(10)], classes=3).upright
    assert not take_fingerprint([discs(8, seed=seed) for seed in range(10)], classes=1).upright


def test_a_few_images_are_not_enough_to_find_an_orientation():
    assert not take_fingerprint([scene(seed) for seed in range(4)], classes=3).upright


def test_shares_leave_out_ignored_pixels():
    label = np.array([[0, 0, 0, 1], [IGNORED] * 4], np.uint8)
    found = take_fingerprint([Sample("a", label, label)], classes=1)
    assert found.shares == (0.75, 0.25)
    assert found.foreground == 0.25


def test_a_label_without_foreground_has_no_object_width():
    empty = np.zeros((16, 16), np.uint8)
    assert np.isnan(take_fingerprint([Sample("a", empty, empty)], classes=1).object_width)


def test_membranes_and_colours_are_recognised(tmp_path: Path):
    assert synthetic.main(["--out", str(tmp_path), "--count", "2", "--size", "384"]) == 0
    cells = take_fingerprint(load_samples(tmp_path), classes=1)
    assert cells.membranes
    assert not cells.coloured
    assert take_fingerprint([scene(0)], classes=3).coloured


DATASETS = Path(__file__).resolve().parents[4] / "shared" / "datasets"


@pytest.mark.skipif(not DATASETS.is_dir(), reason="no public data sets beside the project")
@pytest.mark.parametrize(
    ("name", "expected"),
    [("vessels", {"upright": False, "membranes": False}), ("cracks", {"upright": False, "membranes": False})],
)
def test_fingerprints_of_public_data_sets(name: str, expected: dict[str, bool]):
    found: Fingerprint = take_fingerprint(load_samples(DATASETS / name), classes=1)
    assert {key: getattr(found, key) for key in expected} == expected
    assert found.object_width < 16
