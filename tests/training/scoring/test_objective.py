"""The score that decides a training, chosen from real labels."""

import numpy as np
import pytest

from training.data.folder import Sample
from training.data_error import DataError
from training.scoring.objective import choose_objective, resolve_objective

SIDE = 96


def sample(label: np.ndarray, ids: np.ndarray | None = None) -> Sample:
    return Sample("a", np.zeros(label.shape, np.uint8), label.astype(np.uint8), ids=ids)


def blob() -> np.ndarray:
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[20:60, 30:70] = 1
    return label


def net() -> np.ndarray:
    label = np.ones((SIDE, SIDE), np.uint8)
    label[::16] = label[:, ::16] = 0
    return label


def lines() -> np.ndarray:
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[10:13, 5:90] = label[40:90, 50:53] = 1
    return label


def test_thin_borders_around_objects_are_scored_by_v_rand():
    objective, reason = choose_objective([sample(net())], 1)
    assert objective == "v_rand"
    assert "thin net" in reason


def test_labels_with_object_ids_are_scored_by_objects():
    assert choose_objective([sample(blob(), blob().astype(np.int32))], 1)[0] == "objects"


def test_one_large_object_is_scored_by_dice():
    assert choose_objective([sample(blob()), sample(blob() * 0)], 1)[0] == "dice"


def test_thin_foreground_is_scored_by_dice_and_the_reason_says_so():
    objective, reason = choose_objective([sample(lines())], 1)
    assert objective == "dice"
    assert "lines" in reason


def test_several_classes_are_scored_by_mean_dice():
    assert choose_objective([sample(blob())], 3)[0] == "mean_dice"


def test_select_overrides_the_labels():
    assert resolve_objective("dice", [sample(net())], 1) == ("dice", "--select dice was given")


@pytest.mark.parametrize(
    ("asked", "classes", "accepted"),
    [("mean_dice", 1, "objects or dice"), ("v_rand", 1, "objects or dice"), ("dice", 3, "mean_dice")],
)
def test_an_objective_without_meaning_for_the_labels_is_refused(asked, classes, accepted):
    with pytest.raises(DataError, match=f"--select {asked}: .* by {accepted} only"):
        resolve_objective(asked, [sample(blob())], classes)
