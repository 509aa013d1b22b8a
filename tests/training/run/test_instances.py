"""Trainings on labels with object ids, and how the weights say that masks become objects."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from model.images.encoding import encode_png
from model.weights_file import load_weights
from training.run import command as run
from training.scoring.object_rule import CANDIDATES, DEFAULT_SEED_DEPTH


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of bright discs, some of which touch; labels with an id for each disc."""
    folder, random = tmp_path_factory.mktemp("discs"), np.random.default_rng(0)
    for kind in ("image", "label"):
        (folder / kind).mkdir()
    for number in range(6):
        ids = np.zeros((64, 64), np.uint16)
        for index, (x, y) in enumerate([(16, 16), (31, 16), (20, 48), (48, 44)], start=1):
            cv2.circle(ids, (x, y), 8, index, -1)
        image = np.where(ids > 0, 180, 40) + random.normal(0, 10, ids.shape)
        (folder / "image" / f"{number}.png").write_bytes(encode_png(image.clip(0, 255).astype(np.uint8)))
        (folder / "label" / f"{number}.png").write_bytes(encode_png(ids))
    return folder


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("options", "objects", "depths"),
    [
        ([], "seeds", CANDIDATES),
        (["--val-fraction", "0"], "seeds", [DEFAULT_SEED_DEPTH]),
        (["--objects", "regions"], "regions", [None]),
    ],
)
def test_weights_of_instance_labels_say_how_objects_are_found(discs, tmp_path, options, objects, depths):
    given = ["--data", discs, "--label-format", "instances", "--out", tmp_path, *options]
    short = ["--steps", "2", "--batch", "2", "--crop", "32", "--width", "4", "--workers", "0", "--device", "cpu"]
    assert run.main([*map(str, given), *short]) in (0, 3)
    description = load_weights(tmp_path / "weights.safetensors").description
    assert description.objects == objects
    assert description.seed_depth in depths
    assert (100 < description.min_area < 197) == (objects == "seeds")  # a disc has 197 pixels


@pytest.mark.usefixtures("no_report")
def test_numbered_labels_decide_the_rule_of_objects_beside_init(discs, tmp_path, capsys):
    """The bundled net is of membranes, whose rule grows objects until they touch; its card is kept, and says so."""
    given = ["--data", discs, "--label-format", "instances", "--out", tmp_path, "--init", "--modality", "light"]
    short = ["--steps", "2", "--batch", "2", "--crop", "32", "--workers", "0", "--device", "cpu"]
    assert run.main([*map(str, given), *short]) in (0, 3)
    description = load_weights(tmp_path / "weights.safetensors").description
    assert description.objects == "seeds"
    assert description.card
    assert description.card.modality == "light"
    said = capsys.readouterr().out
    assert f": segments: {description.card.segments}; " in said
    assert "labels: membrane, cell interior (--segments, " in said
    assert "modality: " not in said
