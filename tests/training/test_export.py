import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from model.images import decode_image
from model.segmenter import Segmenter
from model.weights_file import WeightsError, load_weights
from training.data import load_samples
from training.export import WINDOW, WINDOWS, calibration_windows, main


@pytest.fixture(scope="module")
def weights_file(trained: Path) -> Path:
    return trained / "weights.safetensors"


@pytest.fixture(scope="module")
def int8(weights_file: Path, cells_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained net in 8 bits."""
    path = tmp_path_factory.mktemp("export") / "cells.xml"
    wanted = ["--to", "openvino", "--precision", "int8", "--calibrate", str(cells_folder), "--out", str(path)]
    assert main(["--weights", str(weights_file), *wanted]) == 0
    return path


def test_int8_decides_nearly_all_pixels_as_fp32_does(weights_file: Path, int8: Path, cells_folder: Path):
    full, quantised = Segmenter.load(weights_file, device="cpu", precision="fp32"), Segmenter.load(int8)
    assert (quantised.engine.name, quantised.engine.precision) == ("openvino", "int8")
    for sample in load_samples(cells_folder)[:2]:
        assert (full.mask(sample.pixels) != quantised.mask(sample.pixels)).mean() < 0.05
        difference = np.abs(full.probabilities(sample.pixels) - quantised.probabilities(sample.pixels))
        assert 0 < difference.mean() < 0.05


def test_int8_weights_multiply_in_8_bits(int8: Path):
    kinds = {layer.get("type") for layer in ElementTree.parse(int8).iter("layer")}  # noqa: S314 - our own file
    assert "FakeQuantize" in kinds
    stored = {layer.get("element_type") for layer in ElementTree.parse(int8).iter("data")}  # noqa: S314
    assert "i8" in stored


def test_int8_weights_carry_the_description_and_their_origin(weights_file: Path, int8: Path, cells_folder: Path):
    before, after = load_weights(weights_file), load_weights(int8)
    made = after.description.provenance["quantised"]
    assert isinstance(made, dict)
    assert made["from"] == before.sha256
    assert made["windows"] == len(calibration_windows(before, cells_folder))
    rest = {name: value for name, value in after.description.provenance.items() if name != "quantised"}
    assert after.description.model_copy(update={"provenance": rest}) == before.description
    assert len(after.sha256) == 64 != before.sha256


@pytest.mark.parametrize("size", [(64, 64), (100, 131)])
def test_tiles_make_no_difference_in_int8(int8: Path, cells_folder: Path, size: tuple[int, int]):
    image = load_samples(cells_folder)[0].pixels
    large: Any = np.tile(image, (4, 4))[: 5 * size[0], : 5 * size[1]]
    tiled, whole = (Segmenter.load(int8, tile=tile) for tile in (256, 1024))
    assert len(tiled.task(large).tiles) > 1 == len(whole.task(large).tiles)
    assert np.array_equal(tiled.mask(large), whole.mask(large))


def test_a_graph_in_fp32_is_the_net_for_other_programs(weights_file: Path, cells_folder: Path, tmp_path: Path):
    assert main(["--weights", str(weights_file), "--to", "openvino", "--out", str(tmp_path)]) == 0
    weights = load_weights(weights_file)
    path = tmp_path / f"{weights.description.name}.xml"
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.with_suffix(".bin").name, path.name]
    graph = openvino.Core().read_model(path)
    assert json.loads(graph.get_rt_info("description").astype(str)) == weights.description.model_dump(mode="json")
    segmenter = Segmenter.load(weights_file, device="cpu", precision="fp32", engine="torch")
    [task] = [segmenter.task(load_samples(cells_folder)[0].pixels)]
    window = task.cut(task.tiles[0])[None]
    result = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"image": window})
    assert np.abs(result["probabilities"] - segmenter.engine.run(window)).max() < 1e-4


def test_windows_for_calibration_come_from_all_over_the_images(weights_file: Path, cells_folder: Path):
    weights, samples = load_weights(weights_file), load_samples(cells_folder)
    windows = calibration_windows(weights, cells_folder)
    assert len(windows) == min(WINDOWS, len(samples))
    assert all(window.ndim == 4 and max(window.shape) <= WINDOW for window in windows)
    assert len({window.tobytes() for window in windows}) == len(windows)
    assert len(calibration_windows(weights, cells_folder / "image")) == len(windows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "none.safetensors"], "none.safetensors: no such file"),
        (["--precision", "int8", "--calibrate", "nowhere"], "no folder nowhere"),
        (["--precision", "int8", "--calibrate", "."], "no images in"),
        (["--out", "net.onnx"], r"net.onnx: an OpenVINO graph is an .xml file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    monkeypatch.chdir(tmp_path)
    assert main(["--to", "openvino", "--out", "net.xml", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("export: ")
    assert message in said
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_image_is_named(cells_folder: Path, tmp_path: Path, capsys: Any):
    shutil.copytree(cells_folder / "image", tmp_path / "data")
    broken = sorted((tmp_path / "data").iterdir())[0]
    broken.write_bytes(b"nothing")
    wanted = ["--to", "openvino", "--precision", "int8", "--calibrate", str(tmp_path / "data")]
    assert main([*wanted, "--out", str(tmp_path / "net.xml")]) == 2
    assert broken.name in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--precision", "int8"], ["--calibrate", "."]])
def test_int8_and_images_go_together(arguments: list[str], capsys: Any):
    with pytest.raises(SystemExit) as ended:
        main(["--to", "openvino", "--out", "net.xml", *arguments])
    assert ended.value.code == 2
    assert "--precision int8 and --calibrate DIR go together" in capsys.readouterr().err


def test_a_graph_without_a_description_or_its_bin_or_whole_is_no_weights_file(int8: Path, tmp_path: Path):
    copy = Path(shutil.copy(int8, tmp_path))
    with pytest.raises(WeightsError, match=r"cells\.bin: no such file"):
        load_weights(copy)
    shutil.copy(int8.with_suffix(".bin"), tmp_path)
    assert load_weights(copy).sha256 == load_weights(int8).sha256
    text = copy.read_text()
    copy.write_text(text.replace("<description ", "<other "))
    with pytest.raises(WeightsError, match=r"cells\.xml: an OpenVINO graph without a description"):
        load_weights(copy)
    copy.write_text(text[: len(text) // 2])
    with pytest.raises(WeightsError, match=r"cells\.xml: broken or truncated"):
        load_weights(copy)
    copy.write_text(text)
    copy.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"cells\.xml: broken or truncated"):
        load_weights(copy)


def test_a_graph_that_is_another_net_than_described_is_refused(int8: Path, tmp_path: Path):
    copy = Path(shutil.copy(int8, tmp_path))
    shutil.copy(int8.with_suffix(".bin"), tmp_path)
    copy.write_text(copy.read_text().replace("&quot;classes&quot;: 1,", "&quot;classes&quot;: 2,"))
    with pytest.raises(WeightsError, match="does not fit the described net"):
        load_weights(copy)


def test_an_int8_graph_is_a_net_for_nothing_else(int8: Path):
    with pytest.raises(WeightsError, match=r"made for OpenVINO in int8"):
        load_weights(int8).build_net()


def test_the_bundled_graph_was_made_from_the_bundled_weights():
    from model.weights_file import BUNDLED, BUNDLED_INT8

    made, bundled = load_weights(BUNDLED_INT8).description, load_weights(BUNDLED)
    quantised = made.provenance["quantised"]
    assert isinstance(quantised, dict)
    assert quantised["from"] == bundled.sha256
    assert made.threshold == bundled.description.threshold
    image = decode_image((Path(__file__).parents[2] / "docs" / "example.png").read_bytes())
    masks = [Segmenter.load(path, device="cpu").mask(image) for path in (BUNDLED, BUNDLED_INT8)]
    assert (masks[0] != masks[1]).mean() < 0.005
