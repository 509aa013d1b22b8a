"""The scores of nets on nuclei that they have not seen: kinds of images, object decisions, and the whole command."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.datasets.sets import split
from benchmarks.nuclei import kind_of, main, read_folds
from model.images.encoding import encode_png
from model.weights_file import load_weights, save_weights
from tests.support.small_net import save_small_net

SIDE = 64


def picture(ground: int, nucleus: int, blue: int = 0) -> NDArray[np.uint8]:
    """SIDE x SIDE x 3: four squares on a ground; `blue` is added to the last channel."""
    image = np.full((SIDE, SIDE, 3), ground, np.uint8)
    for row, column in np.ndindex(2, 2):
        image[row * 32 + 8 : row * 32 + 24, column * 32 + 8 : column * 32 + 24] = nucleus
    image[:, :, 2] += np.uint8(blue)
    return image


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three images of fluorescence and one that is stained, with the ids of four nuclei each."""
    ids = np.where(picture(0, 1)[:, :, 0] > 0, 1 + (np.indices((SIDE, SIDE)) // 32).T @ (1, 2), 0).astype(np.uint16)
    folder = tmp_path / "cells"
    for part in ("image", "label"):
        (folder / part).mkdir(parents=True)
    for name in "abcd":
        image = picture(180, 60, 40) if name == "d" else picture(10, 120)
        (folder / "image" / f"{name}.png").write_bytes(encode_png(image))
        (folder / "label" / f"{name}.png").write_bytes(encode_png(ids))
    return folder


@pytest.fixture
def keep(tmp_path: Path) -> Path:
    """The folder of a finished training with two folds, whose nets have thresholds of 0.3 and 0.6."""
    keep = tmp_path / "keep"
    for number, (threshold, names) in enumerate(((0.3, ["a", "b"]), (0.6, ["c"])), start=1):
        run = keep / "training" / "folds" / str(number)
        run.mkdir(parents=True)
        weights = load_weights(save_small_net(run / "weights.safetensors", seed=number))
        changed = weights.description.model_copy(update={"threshold": threshold, "min_area": 10 * number})
        save_weights(run / "weights.safetensors", weights.tensors, changed)
        (run / "config.json").write_text(json.dumps({"validation_images": names}))
    save_small_net(keep / "training" / "weights.safetensors")
    return keep


def test_grey_on_a_dark_ground_is_fluorescence():
    assert kind_of(picture(10, 120)) == "fluorescence"
    assert kind_of(picture(10, 120)[:, :, 0].astype(np.uint16) * 257) == "fluorescence"


@pytest.mark.parametrize("image", [picture(220, 60), picture(180, 60, 40), picture(10, 60, 40)])
def test_a_bright_ground_or_colours_are_stained(image: NDArray[np.uint8]):
    assert kind_of(image) == "stained"


def test_folds_get_the_object_decisions_of_other_folds(data: Path, keep: Path):
    images = split(data)
    first, second = read_folds(keep, dict.fromkeys((*images.training, *images.test), "fluorescence"))
    assert [pair.name for pair in first.unseen] == ["a", "b"]
    assert [pair.name for pair in second.seen] == ["a", "b", "d"]
    decisions = [load_weights(fold.weights).description for fold in (first, second)]
    assert [(each.threshold, each.min_area) for each in decisions] == [(0.6, 20), (0.3, 10)]


def test_command_scores_unseen_images_of_both_kinds(data: Path, keep: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--data", str(data), "--keep", str(keep), "--precision", "fp32"]) == 0
    rows = json.loads((keep / "scores.json").read_text())
    assert [(row["images of"], row["fold"], row["images"], row["nuclei"]) for row in rows] == [
        ("fluorescence", 1, 2, 8),
        ("fluorescence", 2, 1, 4),
        ("fluorescence", "all", 3, 12),
        ("stained", 1, 1, 4),
        ("stained", "all", 1, 4),
    ]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("dice", "f1", "mean_f1"))
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)


def test_folder_without_labels_ends_the_command_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--data", str(tmp_path / "none"), "--keep", str(tmp_path)]) == 2
    assert "none" in capsys.readouterr().err
