"""`python -m training.describe`: cards for weights that exist."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from model.engines.graph_weights import load_any
from model.images.decoding import decode_image
from model.images.encoding import encode_png
from model.segmenter import Segmenter
from model.weights_file import BUNDLED, BUNDLED_INT8, load_weights
from tests.support.pictures import blobs
from tests.support.small_net import save_small_net
from training import describe

EXAMPLE = Path(__file__).parents[2] / "docs" / "example.png"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(6):
        (folder / f"{seed}.png").write_bytes(encode_png(blobs(seed)))
    return folder


def test_card_example_and_known_images_are_added(tmp_path, images, capsys):
    path = save_small_net(tmp_path / "net.safetensors")
    before = load_weights(path)
    assert (
        describe.main(["--weights", str(path), "--data", str(images), "--segments", "Blobs.", "--pixel-size", "2"]) == 0
    )
    after = load_weights(path)
    description = after.description
    assert capsys.readouterr().out == f"{path}: {before.label} is {after.label} now\n"
    assert description.card
    assert (description.card.segments, description.card.pixel_size_um) == ("Blobs.", 2)
    assert description.known_images
    assert {len(column) for column in description.known_images.features.values()} == {6}
    assert description.example
    assert np.array_equal(decode_image(description.example.mask), Segmenter.load(path).mask(blobs(3)))
    assert all((after.tensors[name] == tensor).all() for name, tensor in before.tensors.items())


def test_second_description_keeps_what_is_not_given(tmp_path, images):
    path = save_small_net(tmp_path / "net.safetensors")
    assert describe.main(["--weights", str(path), "--data", str(images), "--segments", "Blobs."]) == 0
    first = path.read_bytes()
    known = load_weights(path).description.known_images
    assert describe.main(["--weights", str(path), "--modality", "light"]) == 0
    described = load_weights(path).description
    assert described.card
    assert (described.card.segments, described.card.modality) == ("Blobs.", "light")
    assert described.known_images == known
    assert describe.main(["--weights", str(path), "--modality", ""]) == 0
    assert path.read_bytes() != first


def test_same_command_gives_the_same_bytes(tmp_path, images):
    paths = [save_small_net(tmp_path / folder / "net.safetensors") for folder in "ab"]
    for path in paths:
        assert describe.main(["--weights", str(path), "--data", str(images), "--not-for", "Else."]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_graph_gets_the_same_card_and_names_its_new_origin(tmp_path):
    pytest.importorskip("openvino")
    paths = [Path(shutil.copy(file, tmp_path)) for file in (BUNDLED, BUNDLED_INT8)]
    binary = Path(shutil.copy(BUNDLED_INT8.with_suffix(".bin"), tmp_path)).read_bytes()
    assert describe.main(["--weights", *map(str, paths), "--segments", "A \"<quoted>\" & other 'text'."]) == 0
    weights, graph = map(load_any, paths)
    assert weights.description.card == graph.description.card
    assert graph.description.card
    assert graph.description.card.segments == "A \"<quoted>\" & other 'text'."
    quantised = graph.description.provenance["quantised"]
    assert isinstance(quantised, dict)
    assert quantised["from"] == weights.sha256
    assert paths[1].with_suffix(".bin").read_bytes() == binary


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "missing.safetensors"], "missing.safetensors: no such file"),
        (["--weights", "package.zip"], "package.zip: a package cannot be changed"),
        (["--weights", str(BUNDLED), "--data", "missing"], "no folder missing"),
        (["--weights", str(BUNDLED), "--segments", "a\nb"], "--segments"),
        (["--weights", str(BUNDLED), "--example", "missing.png"], "missing.png"),
    ],
)
def test_error_is_one_line_and_changes_nothing(arguments, said, capsys):
    before = BUNDLED.read_bytes()
    assert describe.main(arguments) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1
    assert BUNDLED.read_bytes() == before


@pytest.mark.parametrize("path", [BUNDLED, BUNDLED_INT8], ids=lambda path: path.suffix)
def test_bundled_weights_have_a_card_and_know_the_example(path):
    description = load_any(path).description
    assert description.card
    assert description.card.pixel_size_um == 0.004
    assert description.example
    assert description.known_images
