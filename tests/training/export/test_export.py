import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from model.engines.graph_weights import GraphWeights, load_any
from model.engines.openvino import resampling
from model.images.decoding import decode_image
from model.inputs.preprocessing import Preprocessing
from model.segmenter import Segmenter
from model.unet import UNet, UNetConfig
from model.weights_file import Description, Weights, WeightsError, load_weights, save_weights
from training.data.folder import load_samples
from training.data.image_reader import ImageReader
from training.export import command as export
from training.export import parity
from training.export.command import FORMATS, main
from training.export.openvino_graph import WINDOW, WINDOWS, calibration_windows

ROOT = Path(__file__).parents[3]


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


def test_int8_keeps_the_resampling_of_a_net_in_floating_point(tmp_path: Path, cells_folder: Path):
    net = UNet(UNetConfig(width=4, depth=1, downsampling=2))
    save_weights(
        tmp_path / "in.safetensors",
        net.state_dict(),
        Description(name="half", architecture=net.config, preprocessing=Preprocessing()),
    )
    wanted = ["--to", "openvino", "--precision", "int8", "--calibrate", str(cells_folder)]
    assert main(["--weights", str(tmp_path / "in.safetensors"), *wanted, "--out", str(tmp_path / "half.xml")]) == 0
    weights = load_any(tmp_path / "half.xml")
    assert isinstance(weights, GraphWeights)
    assert weights.description.unet.downsampling == 2
    sources = [node.input_value(0).get_node().get_type_name() for node in resampling(weights.graph)]
    assert sources == ["Parameter", "Add"]
    image = load_samples(cells_folder)[0].pixels[:61, :83]
    assert Segmenter.load(tmp_path / "half.xml").mask(image).shape == image.shape


def test_int8_weights_carry_the_description_and_their_origin(weights_file: Path, int8: Path, cells_folder: Path):
    before, after = load_weights(weights_file), load_any(int8)
    made = after.description.provenance["quantised"]
    assert isinstance(made, dict)
    assert made["from"] == before.sha256
    assert made["windows"] == len(calibration_windows(before, cells_folder, ImageReader()))
    rest = {name: value for name, value in after.description.provenance.items() if name != "quantised"}
    assert after.description.model_copy(update={"provenance": rest}) == before.description
    assert len(after.sha256) == 64 != before.sha256


@pytest.mark.parametrize("size", [(64, 64), (100, 131)])
def test_tiles_make_no_difference_in_int8(int8: Path, cells_folder: Path, size: tuple[int, int]):
    image = load_samples(cells_folder)[0].pixels
    large: Any = np.tile(image, (10, 10))[: 9 * size[0], : 9 * size[1]]
    tiled, whole = (Segmenter.load(int8, tile=tile) for tile in (272, 2048))
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
    window = task.cut(task.tiles[0]).to_input()[None]
    result = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"image": window})
    assert np.abs(result["probabilities"] - segmenter.engine.run(window)).max() < 1e-4


def test_the_parity_check_prints_its_results(weights_file: Path, tmp_path: Path, capsys: Any):
    assert main(["--weights", str(weights_file), "--to", "openvino", "--out", str(tmp_path / "net.xml")]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{tmp_path / 'net.xml'}:"
    assert [line.partition(":")[0].split(" x ")[0].strip() for line in lines] == ["1", "2", "3"]
    assert all("differs from torch by" in line for line in lines)


@pytest.mark.parametrize("to", ["openvino", "torchscript"])
def test_a_file_that_computes_something_else_is_not_kept(
    to: str, weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    monkeypatch.setattr(parity, "TOLERANCE", -1.0)  # not even equality is enough
    path = tmp_path / f"net{FORMATS[to].suffix}"
    path.write_bytes(b"the old one")
    assert main(["--weights", str(weights_file), "--to", to, "--out", str(path)]) == 1
    assert "differs from torch by" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"the old one"


@pytest.mark.parametrize("to", FORMATS)
def test_a_package_that_is_missing_is_named_with_the_way_to_get_it(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    monkeypatch.setattr(export, "find_spec", lambda _name: None)
    code = main(["--to", to, "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert code == (2 if FORMATS[to].packages else 0)
    for package in FORMATS[to].packages:
        assert package in said
        assert 'pip install ".[export]"' in said


def test_packages_of_a_format_are_imported_only_when_it_is_asked_for():
    code = "import sys, training.export; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({package for kind in FORMATS.values() for package in kind.packages} | {"nncf"})


@pytest.mark.parametrize("to", FORMATS)
def test_weights_in_int8_are_exported_no_further(to: str, int8: Path, tmp_path: Path, capsys: Any):
    assert main(["--weights", str(int8), "--to", to, "--out", str(tmp_path / "out")]) == 2
    assert "cells.xml: a graph cannot be trained or exported; give its .safetensors" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_exporting_aligned_corners_to_openvino_names_other_formats(tmp_path: Path, capsys: Any):
    net = UNet(UNetConfig(width=4, depth=2, upsampling="bilinear_aligned", conv_bias=True))
    described = Description(name="aligned", architecture=net.config, preprocessing=Preprocessing(scaling="raw"))
    save_weights(tmp_path / "in.safetensors", net.state_dict(), described)
    arguments = ["--weights", str(tmp_path / "in.safetensors"), "--out", str(tmp_path / "out")]
    assert main(["--to", "openvino", *arguments]) == 2
    assert "no nets with aligned corners; onnx, torchscript and bioimageio do" in capsys.readouterr().err
    assert main(["--to", "torchscript", *arguments]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["aligned.pt"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--to", "onnx", "--authors", "me"],
        ["--to", "openvino", "--sample", "image.png"],
        ["--to", "torchscript", "--license", "MIT"],
        ["--to", "onnx", "--precision", "int8", "--calibrate", "."],
    ],
)
def test_an_option_of_another_format_is_refused(arguments: list[str], capsys: Any):
    with pytest.raises(SystemExit) as ended:
        main(["--out", "net", *arguments])
    assert ended.value.code == 2
    assert "goes with --to" in capsys.readouterr().err


def test_windows_for_calibration_come_from_all_over_the_images(weights_file: Path, cells_folder: Path):
    weights, samples = load_weights(weights_file), load_samples(cells_folder)
    windows = calibration_windows(weights, cells_folder, ImageReader())
    assert len(windows) == min(WINDOWS, len(samples))
    assert all(window.ndim == 4 and max(window.shape) <= WINDOW for window in windows)
    assert len({window.tobytes() for window in windows}) == len(windows)
    assert len(calibration_windows(weights, cells_folder / "image", ImageReader())) == len(windows)


def test_windows_for_calibration_are_larger_if_the_halo_needs_it(cells_folder: Path):
    net = UNet(UNetConfig(width=1, downsampling=4))
    described = Description(name="coarse", architecture=net.config, preprocessing=Preprocessing())
    windows = calibration_windows(Weights(described, "0" * 64, net.state_dict()), cells_folder, ImageReader())
    assert all(side % 64 == 0 for window in windows for side in window.shape[2:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "none.safetensors"], "none.safetensors: no such file"),
        (["--precision", "int8", "--calibrate", "nowhere"], "no folder nowhere"),
        (["--precision", "int8", "--calibrate", "."], "no images in"),
        (["--out", "net.onnx"], r"net.onnx: an OpenVINO graph is an .xml file"),
        (["--to", "onnx"], "net.xml: an ONNX net is an .onnx file"),
        (["--to", "bioimageio"], "net.xml: a BioImage.IO package is a .zip file"),
    ],
)
def test_wrong_export_options_are_refused_in_one_line(
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


def test_an_incomplete_openvino_graph_is_refused_as_weights(int8: Path, tmp_path: Path):
    copy = Path(shutil.copy(int8, tmp_path))
    with pytest.raises(WeightsError, match=r"cells\.bin: no such file"):
        load_any(copy)
    shutil.copy(int8.with_suffix(".bin"), tmp_path)
    assert load_any(copy).sha256 == load_any(int8).sha256
    text = copy.read_text()
    copy.write_text(text.replace("<description ", "<other "))
    with pytest.raises(WeightsError, match=r"cells\.xml: an OpenVINO graph without a description"):
        load_any(copy)
    copy.write_text(text[: len(text) // 2])
    with pytest.raises(WeightsError, match=r"cells\.xml: broken or truncated"):
        load_any(copy)
    copy.write_text(text)
    copy.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"cells\.xml: broken or truncated"):
        load_any(copy)


def test_a_graph_that_is_another_net_than_described_is_refused(int8: Path, tmp_path: Path):
    copy = Path(shutil.copy(int8, tmp_path))
    shutil.copy(int8.with_suffix(".bin"), tmp_path)
    copy.write_text(copy.read_text().replace("&quot;classes&quot;: 1,", "&quot;classes&quot;: 2,"))
    with pytest.raises(WeightsError, match="does not fit the described net"):
        load_any(copy)


def test_a_graph_is_a_net_for_nothing_else(int8: Path):
    with pytest.raises(WeightsError, match="cannot be trained or exported"):
        load_weights(int8)


def test_the_bundled_graph_was_made_from_the_bundled_weights():
    from model.weights_file import BUNDLED, BUNDLED_INT8

    made, bundled = load_any(BUNDLED_INT8).description, load_weights(BUNDLED)
    quantised = made.provenance["quantised"]
    assert isinstance(quantised, dict)
    assert quantised["from"] == bundled.sha256
    assert made.threshold == bundled.description.threshold
    image = decode_image((Path(__file__).parents[3] / "docs" / "example.png").read_bytes())
    masks = [Segmenter.load(path, device="cpu").mask(image) for path in (BUNDLED, BUNDLED_INT8)]
    assert (masks[0] != masks[1]).mean() < 0.005
