import os

import numpy as np
import pytest
import torch

from training.data.folder import fingerprint, load_samples
from training.data.image_cache import ImageCache, Stored
from training.data_error import DataError
from training.loop.batches import SampleStream
from training.loop.checkpoints import read_checkpoint
from training.recipe import DEFAULT
from training.run import command as run

IMAGE = 96 * 96  # bytes of an image, and of a label


def test_images_beyond_the_bound_are_read_back_unchanged(cells_folder, tmp_path):
    cache = ImageCache(tmp_path, bound=5 * IMAGE)
    samples, plain = load_samples(cells_folder, store=cache), load_samples(cells_folder)
    assert cache.spilled >= 8 * IMAGE
    for _ in range(2):
        for one, other in zip(samples, plain, strict=True):
            np.testing.assert_array_equal(one.pixels, other.pixels)
            np.testing.assert_array_equal(one.label, other.label)
            np.testing.assert_array_equal(one.foreground, other.foreground)
            assert cache.held <= 5 * IMAGE
    assert fingerprint(samples) == fingerprint(plain)
    assert not list(tmp_path.iterdir())  # the scratch file has no name


def test_derived_arrays_count_towards_the_bound(cells_folder, tmp_path):
    recipe = DEFAULT.model_copy(update={"crop": 32, "batch": 2})
    cache = ImageCache(tmp_path, bound=4 * IMAGE)
    kept = SampleStream(load_samples(cells_folder, store=cache), recipe, seed=0)
    plain = SampleStream(load_samples(cells_folder), recipe, seed=0)
    for position in range(12):
        assert all(torch.equal(*pair) for pair in zip(kept[position], plain[position], strict=True))
        assert cache.held <= 4 * IMAGE


def test_workers_share_the_memory_for_images_read_back(tmp_path):
    cache = ImageCache(tmp_path, bound=400, processes=2)
    stored = [cache.put(np.full(30, value, np.uint8)) for value in range(20)]
    spilled = [place for place in stored if isinstance(place, Stored)]
    assert [int(cache.read(place)[0]) for place in spilled] == list(range(10, 20))
    assert cache.resident == 300
    assert 0 < cache.recent <= 50


@pytest.mark.usefixtures("no_report")
def test_weights_do_not_depend_on_the_memory_for_images(cells_folder, tmp_path):
    options = ["--data", str(cells_folder), "--width", "4", "--crop", "32", "--steps", "3", "--batch", "2"]
    assert run.main([*options, "--workers", "0", "--out", str(tmp_path / "whole")]) == 0
    small = ["--workers", "1", "--image-memory", "0.00001"]
    assert run.main([*options, *small, "--out", str(tmp_path / "small")]) == 0
    nets = [read_checkpoint(tmp_path / out / "checkpoint.pt")["learner"]["net"] for out in ("whole", "small")]
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])


def test_a_full_disk_is_reported_with_the_option_that_helps(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(DataError, match=r"No space left on device.*--image-memory"):
        ImageCache(tmp_path / "not/there", bound=10).put(np.zeros((8, 8), np.uint8))


def test_arrays_are_read_back_in_pieces(tmp_path, monkeypatch):
    """Linux reads at most 2 GiB in one call."""
    cache, preadv = ImageCache(tmp_path, bound=0), os.preadv
    array = np.arange(1000, dtype=np.uint16)
    stored = cache.put(array)
    monkeypatch.setattr(os, "preadv", lambda file, buffers, offset: preadv(file, [buffers[0][:300]], offset))
    assert isinstance(stored, Stored)
    np.testing.assert_array_equal(cache.read(stored), array)
    monkeypatch.setattr(os, "preadv", lambda *_: 0)
    other = cache.put(array)
    assert isinstance(other, Stored)
    with pytest.raises(OSError, match="is shorter than it was written"):
        cache.read(other)
