import gc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from model.images.decoding import decode_image
from model.images.encoding import encode_png
from model.segmenter import Segmenter
from model.weights_file import load_weights
from training.export.command import main
from training.export.parity import ParityError

# bioimageio.core leaves files open, the package among them, until they are collected
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def _files_are_closed_here() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def core() -> Any:
    """`bioimageio.core`. It takes seconds to import, and most processes of a test run do without."""
    import bioimageio.core
    import bioimageio.core.digest_spec

    gc.freeze()  # it collects garbage after each inference, and would search all that has been imported
    return bioimageio.core


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of three channels and 16 bits, wider than high, whose channels differ."""
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    random = np.random.default_rng(0)
    coarse = cv2.resize(random.random((9, 11, 3)).astype(np.float32), (304, 280), interpolation=cv2.INTER_CUBIC)
    path.write_bytes(encode_png(np.clip(coarse * (20_000, 40_000, 60_000), 0, 65_535).astype(np.uint16)))
    return path


@pytest.fixture(scope="module")
def weights_file(save_net: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    preprocessing = {"channels": "rgb", "normalisation": "zscore"}
    config = {"in_channels": 3, "classes": 3, "depth": 1, "downsampling": 2}
    return save_net(folder / "three.cells.safetensors", preprocessing, **config)


@pytest.fixture(scope="module")
def summaries() -> list[Any]:
    """The results of the zoo's own test, which takes seconds, in the export of `exported`."""
    return []


@pytest.fixture(scope="module")
def exported(
    core: Any, weights_file: Path, picture: Path, summaries: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    def run_and_note(path: Path) -> Any:
        summaries.append(core.test_model(path))
        return summaries[-1]

    out = tmp_path_factory.mktemp("package")
    told = ["--authors", "Ada L.", "Alan T.", "--license", "CC-BY-4.0", "--sample", str(picture)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.export.bioimageio.test_model", run_and_note)
        assert main(["--weights", str(weights_file), "--to", "bioimageio", "--out", str(out), *told]) == 0
    assert [path.name for path in out.iterdir()] == ["three.cells.zip"]
    return out / "three.cells.zip"


@pytest.fixture(scope="module")
def content(exported: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(exported) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


@pytest.mark.usefixtures("exported")
def test_the_zoos_own_test_passes_for_each_kind_of_weights(summaries: list[Any]):
    [summary] = summaries
    assert summary.status == "passed"
    reproduced = {detail.loc for detail in summary.details if detail.name.startswith("Reproduce")}
    assert reproduced == {("weights", kind) for kind in ("pytorch_state_dict", "torchscript", "onnx")}


def test_the_description_says_what_people_and_programs_need(core: Any, exported: Path):
    described = core.load_model_description(exported)
    assert described.name == "three-cells U-Net"
    assert [author.name for author in described.authors] == ["Ada L.", "Alan T."]
    assert described.license == "CC-BY-4.0"
    [image], [probabilities] = described.inputs, described.outputs
    assert image.axes[1].channel_names == ["red", "green", "blue"]
    assert [(axis.id, axis.size.min, axis.size.step) for axis in image.axes[2:]] == [("y", 4, 4), ("x", 4, 4)]
    normalised = [step for step in image.preprocessing if step.id == "zero_mean_unit_variance"]
    assert [list(step.kwargs.axes) for step in normalised] == [["y", "x"]]
    assert probabilities.axes[1].channel_names == ["gap", "cell", "core"]
    config = described.weights.pytorch_state_dict.architecture.kwargs["config"]
    assert (config["classes"], config["downsampling"]) == (3, 2)


def test_bioimageio_programs_reproduce_the_segmenters_probabilities(
    core: Any, exported: Path, weights_file: Path, picture: Path
):
    pixels = decode_image(picture.read_bytes())
    expected = Segmenter.load(weights_file, engine="torch", device="cpu", precision="fp32").probabilities(pixels)
    values = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 257
    net = core.load_model_description(exported)
    sample = core.digest_spec.create_sample_for_model(net, inputs={"image": values})
    with core.create_prediction_pipeline(net, weight_format="onnx") as pipeline:
        result = pipeline.predict_sample_without_blocking(sample)
    # bioimageio.core sums up the mean and the standard deviation in float32, the segmenter in float64
    assert np.abs(result.members["probabilities"].data.to_numpy()[0] - expected).max() < 5e-4


def test_the_package_is_the_weights_file_for_the_service(exported: Path, weights_file: Path, picture: Path):
    packed, plain = load_weights(exported), load_weights(weights_file)
    assert (packed.sha256, packed.description) == (plain.sha256, plain.description)
    pixels = decode_image(picture.read_bytes())
    one, other = (Segmenter.load(path, engine="torch", device="cpu").mask(pixels) for path in (exported, weights_file))
    assert np.array_equal(one, other)
    assert len(np.unique(one)) > 1


def test_cover_and_documentation_are_for_people(content: dict[str, bytes], weights_file: Path):
    cover = decode_image(content["cover.png"])
    assert cover.shape == (256, 512, 3)
    assert cover.dtype == np.uint8
    assert len(np.unique(cover[:, 256:].reshape(-1, 3), axis=0)) in (2, 3)  # a colour a class
    text = content["README.md"].decode()
    assert "three.cells" in text
    assert "height and width are multiples of 4, at least 4" in text
    assert "depends on no more than 20 pixels around it" in text
    assert "averages squares of 2 x 2 pixels" in text
    assert load_weights(weights_file).label in text
    assert "# Validation" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--license", "mine"], "--license mine: not an SPDX identifier"),
        (["--authors", "a/b"], "--authors: names without slashes"),
        (["--description", "x" * 1025], "--description: 1024 characters at most, not 1025"),
        (["--sample", "none.png"], "none.png"),
        (["--sample", "text.png"], "--sample text.png: "),
    ],
)
def test_an_unsupported_export_is_refused_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.png").write_text("no picture")
    monkeypatch.chdir(tmp_path / "in")
    assert main(["--to", "bioimageio", "--out", str(tmp_path / "net.zip"), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("export: ")
    assert message in said
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_package_that_fails_the_zoos_test_is_told_with_what_failed(content: dict[str, bytes], tmp_path: Path):
    from training.export import bioimageio as package

    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(changed, "w") as zipped:
        for name, data in content.items():
            zipped.writestr(name, data[:-4] + b"\0\0\xc0\x7f" if name == "probabilities.npy" else data)
    with pytest.raises(ParityError, match=r"test_model: failed(.|\n)*probabilities\.npy"):
        package.check(changed)
