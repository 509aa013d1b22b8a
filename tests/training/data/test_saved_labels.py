"""Folders that the service saved are read as they are."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from app.metrics import Metrics
from app.saving.checked_pair import check_pair, measure_pair
from app.saving.label_store import LabelStore
from model.images.encoding import encode_png
from training.data.folder import load_data, load_samples
from training.data.labels.label_scheme import LabelScheme
from training.data.saved_labels import saved_scheme
from training.data_error import DataError

MASK = np.zeros((16, 16), np.uint8)
MASK[4:12] = 255


def image_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)


def save(folder: Path, *labels: np.ndarray, classes: int = 1) -> list[str]:
    """Saves the labels as the service does, of images with the seeds 0, 1, ...; the ids of the pairs."""
    store = LabelStore(folder, 100, 2**30, Metrics())
    pairs = [
        check_pair(measure_pair(encode_png(image_of(seed)), encode_png(label), 10**6), classes)
        for seed, label in enumerate(labels)
    ]
    ids = [asyncio.run(store.save(pair, {})).id for pair in pairs]
    store.close()
    return ids


@pytest.mark.parametrize("high", [1, 255])
def test_masks_are_read_without_a_note(tmp_path, high):
    ids = save(tmp_path, MASK // 255 * high, np.flipud(MASK).copy() // 255 * high)
    data = load_data(tmp_path)
    assert sorted(ids) == sorted(sample.name for sample in data.samples)
    assert data.notes == ()
    assert (data.scheme.format, data.scheme.classes) == ("mask", 1)
    for sample in data.samples:
        assert (sample.foreground == (MASK == 255)).all()


def test_a_single_label_with_few_objects_is_read_as_instances(tmp_path):
    label = np.zeros((16, 16), np.uint8)
    label[2:6, 2:6], label[9:14, 9:14] = 1, 2
    save(tmp_path, label)
    (sample,) = load_samples(tmp_path)
    assert sample.ids is not None
    assert np.array_equal(sample.ids, label)


def test_classes_keep_their_number_although_not_all_appear(tmp_path):
    save(tmp_path, MASK // 255, classes=4)
    data = load_data(tmp_path)
    assert (data.scheme.format, data.scheme.classes) == ("classes", 4)
    assert np.array_equal(data.samples[0].label, MASK // 255)


def test_the_newest_label_decides_the_kind(tmp_path):
    save(tmp_path, MASK // 255 * 7)
    save(tmp_path, MASK)
    assert saved_scheme(tmp_path) == LabelScheme("mask")
    assert len(load_samples(tmp_path)) == 1


def test_an_image_without_a_label_is_left_out_with_a_note(tmp_path):
    save(tmp_path, MASK, np.flipud(MASK).copy())
    next((tmp_path / "label").iterdir()).unlink()
    (tmp_path / "label" / ".a.png.1-2.tmp").write_bytes(b"cut off")
    data = load_data(tmp_path)
    assert len(data.samples) == 1
    assert data.notes == ("1 image(s) without a label are not used: the service was stopped while it saved them",)


def test_a_label_without_an_image_is_still_a_problem(tmp_path):
    save(tmp_path, MASK, MASK)
    next((tmp_path / "image").iterdir()).unlink()
    with pytest.raises(DataError, match="no image image/"):
        load_samples(tmp_path)


@pytest.mark.parametrize(
    "record",
    [
        "no json",
        "[]",
        "{}",
        '{"id": 1, "kind": "mask", "classes": 1}',
        '{"id": "a", "kind": "mask", "classes": 3}',
        '{"id": "a", "kind": "classes", "classes": 1000}',
        '{"id": "a", "kind": "classes", "classes": "2"}',
        '{"id": "a", "kind": ["mask"], "classes": 1}',
    ],
)
def test_records_that_say_nothing_are_left_out(tmp_path, record):
    (tmp_path / "provenance").mkdir()
    (tmp_path / "provenance" / "a.json").write_text(record)
    assert saved_scheme(tmp_path) is None
    good = {"id": "b", "kind": "instances", "classes": 1}
    (tmp_path / "provenance" / "b.json").write_text(json.dumps(good))
    assert saved_scheme(tmp_path) == LabelScheme("instances")


def test_masks_beside_ids_have_their_regions_as_objects(tmp_path):
    ids = np.zeros((16, 16), np.uint8)
    ids[:, 4:6], ids[:, 6:9], ids[2:5, 10:13] = 1, 2, 7
    two = np.zeros((16, 16), np.uint8)
    two[1:6, 1:6], two[9:15, 9:15] = 255, 255
    save(tmp_path, two, ids)
    counts = [len(np.unique(sample.ids)) - 1 for sample in load_samples(tmp_path) if sample.ids is not None]
    assert sorted(counts) == [2, 3]


def test_labels_of_nets_of_another_number_of_classes_are_left_out(tmp_path):
    save(tmp_path, MASK, MASK, MASK, MASK)
    saved = save(tmp_path, MASK // 255, MASK // 255 * 2, classes=3)
    data = load_data(tmp_path)
    assert {sample.name for sample in data.samples} == set(saved)
    assert data.notes == ("2 label(s) were saved for nets of another number of classes than 3; they are left out",)


@pytest.mark.parametrize("label_format", ["mask", "inverted"])
def test_the_scheme_of_other_folders_does_not_change_masks(tmp_path, label_format):
    """`--val` with a saved folder is read so, after `--data` with an ordinary one."""
    save(tmp_path, MASK, np.flipud(MASK).copy())
    for sample in load_samples(tmp_path, LabelScheme(label_format, values=(0, 2))):
        assert (sample.foreground == (MASK == 255)).all()
