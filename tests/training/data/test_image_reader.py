"""Images with several channels, through the commands that read folders of images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from model.engines.graph_weights import load_any
from model.images.decoding import ImageFile
from model.images.encoding import encode_png
from model.inputs.net_input import read_input
from model.inputs.preprocessing import Preprocessing
from model.segmenter import Segmenter, as_they_are
from model.unet import UNet, UNetConfig
from model.weights_file import Description, load_weights, save_weights
from training import evaluate
from training.data.folder import IN_MEMORY, fingerprint, load_data, load_samples
from training.data.image_cache import ImageCache
from training.data.image_reader import ImageReader, recorded_channel
from training.export.command import main as export
from training.report import html_report
from training.run import command as run
from training.scoring.prediction_scoring import predictor

pytestmark = pytest.mark.usefixtures("no_report")

NAMES = ["DAPI", "GFP"]
SHORT = ["--width", "4", "--steps", "2", "--batch", "2", "--workers", "0", "--crop", "32", "--val-fraction", "0.4"]
LEARNING = [*SHORT, "--steps", "40"]
WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "OME": lambda path, planes: tifffile.imwrite(
        path, planes, ome=True, metadata={"axes": "CYX", "Channel": {"Name": NAMES}}
    ),
    "ImageJ": lambda path, planes: tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "CYX"}),
    "interleaved": lambda path, planes: tifffile.imwrite(
        path, planes.transpose(1, 2, 0), photometric="minisblack", planarconfig="contig"
    ),
}


def write_folder(folder: Path, kind: str) -> Path:
    """Four images of 64 x 64: a square in the second channel, noise in the first; and their labels."""
    rng = np.random.default_rng(0)
    for part in ("image", "label"):
        (folder / part).mkdir(parents=True)
    for index in range(4):
        label = np.zeros((64, 64), np.uint8)
        label[8 + index : 40, 16:48] = 255
        planes = np.stack([rng.integers(0, 256, (64, 64), np.uint8), label // 2 + 40])
        WRITERS[kind](folder / f"image/{index}.tif", planes)
        (folder / f"label/{index}.png").write_bytes(encode_png(label))
    return folder


@pytest.fixture(scope="module")
def channels_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("channels") / "data", "OME")


@pytest.fixture(scope="module")
def trained_on_gfp(channels_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("channels") / "run"
    options = ["--data", str(channels_folder), "--out", str(out), *LEARNING, "--channel", "gfp"]
    assert run.main(options) == 0
    return out


def held_out_digest(folder: Path) -> str:
    digest: str = json.loads((folder / "config.json").read_text())["validation_sha256"]
    return digest


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(("channel", "index"), [("", 0), ("0", 0), ("1", 1)])
def test_samples_hold_the_chosen_channel(tmp_path, kind, channel, index):
    folder = write_folder(tmp_path / "data", kind)
    for sample in load_samples(folder, reader=ImageReader(channel)):
        planes = np.atleast_3d(tifffile.imread(folder / f"image/{sample.name}.tif"))
        planes = planes.transpose(2, 0, 1) if kind == "interleaved" else planes
        assert np.array_equal(sample.pixels, planes[index])


def test_training_notes_channels_that_it_does_not_read(channels_folder, tmp_path, capsys):
    assert run.main(["--data", str(channels_folder), "--out", str(tmp_path), *SHORT]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("channels:")]
    assert line == (
        "channels: 4 images with 2 channels: 0 (DAPI), 1 (GFP); channel 0 is read, --channel N|NAME reads another"
    )
    assert recorded_channel(load_weights(tmp_path / "weights.safetensors").description) == ""


def test_a_chosen_channel_is_trained_on_and_recorded(channels_folder, trained_on_gfp):
    held_out = [
        sample
        for sample in load_samples(channels_folder, reader=ImageReader("GFP"))
        if sample.name in json.loads((trained_on_gfp / "config.json").read_text())["validation_images"]
    ]
    assert fingerprint(held_out) == held_out_digest(trained_on_gfp)
    assert recorded_channel(load_weights(trained_on_gfp / "weights.safetensors").description) == "gfp"


def test_a_chosen_channel_needs_no_note(channels_folder):
    assert load_data(channels_folder, reader=ImageReader("1")).notes == ()


def test_a_channel_that_an_image_lacks_is_one_line(channels_folder, tmp_path, capsys):
    with_one = tmp_path / "data"
    write_folder(with_one, "OME")
    tifffile.imwrite(with_one / "image/2.tif", np.zeros((64, 64), np.uint8))
    assert run.main(["--data", str(with_one), "--out", str(tmp_path / "out"), *SHORT, "--channel", "GFP"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"training: 1 problem with the data in {with_one}:",
        f"  {with_one}/image/2.tif: The image has no channel 'GFP'. It has one channel, 0.",
    ]
    assert run.main(["--data", str(channels_folder), "--out", str(tmp_path / "out"), *SHORT, "--channel", "2"]) == 2
    assert "3.tif: The image has no channel '2'. Its channels are 0 (DAPI), 1 (GFP)." in capsys.readouterr().err


@pytest.mark.parametrize("channel", [(), ("--channel", "GFP")])
def test_labels_of_several_channels_are_refused_with_advice(tmp_path, capsys, channel):
    folder = write_folder(tmp_path / "data", "OME")
    (folder / "label/1.png").unlink()
    WRITERS["OME"](folder / "label/1.tif", np.zeros((2, 64, 64), np.uint8))
    assert run.main(["--data", str(folder), "--out", str(tmp_path / "out"), *SHORT, *channel]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"  {folder}/label/1.tif: a label of 2 channels: 0 (DAPI), 1 (GFP); one channel with a mask, ids or classes is "
        "expected, or RGB with --colours; save the channel as a file of its own, because --channel is only for images"
    ]


def test_resume_reads_the_channel_of_the_training(channels_folder, trained_on_gfp, capsys):
    assert run.main(["--out", str(trained_on_gfp), "--resume"]) == 0
    assert "channels:" not in capsys.readouterr().out
    options = ["--data", str(channels_folder), "--out", str(trained_on_gfp), *LEARNING, "--resume"]
    assert run.main(options) == 2
    assert "another training images" in capsys.readouterr().err


def test_folds_and_held_out_folders_read_the_chosen_channel(channels_folder, tmp_path):
    folds = ["--data", str(channels_folder), "--out", str(tmp_path / "folds"), *SHORT[:-2], "--folds", "2"]
    assert run.main([*folds, "--channel", "GFP"]) == 0
    fold = load_weights(tmp_path / "folds/folds/1/weights.safetensors")
    assert recorded_channel(fold.description) == "GFP"
    val = write_folder(tmp_path / "val", "OME")
    for path in (val / "image").iterdir():
        planes = tifffile.imread(path)
        WRITERS["OME"](path, np.stack([planes[0], planes[1] + 1]))
    options = ["--data", str(channels_folder), "--out", str(tmp_path / "val_run"), *SHORT[:-2], "--val", str(val)]
    assert run.main([*options, "--channel", "1"]) == 0
    assert held_out_digest(tmp_path / "val_run") == fingerprint(load_samples(val, reader=ImageReader("GFP")))


def test_evaluate_and_report_read_the_channel_of_the_training(channels_folder, trained_on_gfp, capsys):
    command = ["--weights", str(trained_on_gfp / "weights.safetensors"), "--data", str(channels_folder), "--json"]
    scores = {}
    for channel in ((), ("--channel", "GFP"), ("--channel", "DAPI")):
        assert evaluate.main([*command, *channel]) == 0
        printed = capsys.readouterr()
        scores[channel] = printed.out
        assert ("channel gfp is read, as in the training" in printed.err) == (channel == ())
    assert scores[()] == scores["--channel", "GFP"] != scores["--channel", "DAPI"]
    assert html_report.main(["--out", str(trained_on_gfp)]) == 0


def test_evaluate_notes_channels_that_it_does_not_read(channels_folder, weights_for_channels, capsys):
    weights = weights_for_channels(in_channels=1)
    assert evaluate.main(["--weights", str(weights), "--data", str(channels_folder)]) == 0
    assert "0 (DAPI), 1 (GFP); channel 0 is read, --channel N|NAME reads another" in capsys.readouterr().err


def test_evaluate_gives_a_net_of_stored_channels_all_of_them(channels_folder, weights_for_channels, capsys):
    weights = weights_for_channels(in_channels=2, channels="stored")
    assert evaluate.main(["--weights", str(weights), "--data", str(channels_folder)]) == 0
    assert "--channel" not in capsys.readouterr().err


@pytest.fixture
def weights_for_channels(tmp_path: Path) -> Callable[..., Path]:
    """Writes untrained weights of a net with these channels."""

    def write(in_channels: int, channels: Any = "grey", normalisation: Any = "zscore") -> Path:
        net, path = UNet(UNetConfig(width=4, depth=1, in_channels=in_channels)), tmp_path / "net.safetensors"
        preprocessing = Preprocessing(channels=channels, normalisation=normalisation)
        description = Description(name="net", architecture=net.config, preprocessing=preprocessing)
        save_weights(path, net.state_dict(), description)
        return path

    return write


def test_int8_is_calibrated_on_the_chosen_channel(channels_folder, weights_for_channels, tmp_path, capsys):
    weights = str(weights_for_channels(in_channels=1))
    wanted = ["--weights", weights, "--to", "openvino", "--precision", "int8"]
    wanted += ["--calibrate", str(channels_folder)]
    assert export([*wanted, "--out", str(tmp_path / "first.xml")]) == 0
    assert "channel 0 is read, --channel N|NAME reads another" in capsys.readouterr().out
    assert export([*wanted, "--out", str(tmp_path / "second.xml"), "--channel", "GFP"]) == 0
    assert "--channel" not in capsys.readouterr().out
    assert load_any(tmp_path / "first.xml").sha256 != load_any(tmp_path / "second.xml").sha256
    assert export([*wanted, "--out", str(tmp_path / "third.xml"), "--channel", "Cy5"]) == 2
    assert "0.tif: The image has no channel 'Cy5'. Its channels are 0 (DAPI), 1 (GFP)." in capsys.readouterr().err


def test_a_channel_without_images_to_read_is_refused(weights_for_channels, capsys):
    weights = str(weights_for_channels(in_channels=1))
    with pytest.raises(SystemExit, match="2"):
        export(["--weights", weights, "--to", "onnx", "--out", "net.onnx", "--channel", "1"])
    assert "--channel goes with --calibrate or --sample" in capsys.readouterr().err


def test_files_with_different_channels_are_counted_apart(tmp_path):
    reader = ImageReader()
    for index in range(7):
        planes = np.zeros((2 + max(0, index - 2), 8, 8), np.uint8)
        tifffile.imwrite(tmp_path / f"{index}.tif", planes, imagej=True, metadata={"axes": "CYX"})
        reader.read(tmp_path / f"{index}.tif")
    assert reader.notes() == [
        "channels: 3 images with 2 channels: 0, 1; 1 image with 3 channels: 0, 1, 2; 1 image with 4 channels: "
        "0, 1, 2, 3; 2 other kinds; channel 0 is read, --channel N|NAME reads another"
    ]


@pytest.mark.parametrize("stated", [True, False])
def test_bits_in_use_are_those_of_the_file_as_in_the_service(tmp_path, weights_for_channels, stated):
    """A net whose input is not normalised, and a dim page of 12 bits: stated, or known from the brighter page."""
    weights = weights_for_channels(in_channels=1, normalisation="none")
    segmenter = Segmenter.load(weights, engine="torch", device="cpu")
    pages = np.random.default_rng(0).integers(0, 900, (2, 64, 64)).astype(np.uint16)
    if not stated:
        pages[1, 0, 0] = 4000
    for kind, planes in (("image", pages), ("label", (pages > 400).astype(np.uint8) * 255)):
        (tmp_path / kind).mkdir()
        metadata = {"axes": "ZYX", "SignificantBits": 12} if stated and kind == "image" else {"axes": "ZYX"}
        tifffile.imwrite(tmp_path / kind / "0.tif", planes, ome=True, photometric="minisblack", metadata=metadata)
    given = read_input(ImageFile.read((tmp_path / "image/0.tif").read_bytes()), segmenter.description)
    for store in (IN_MEMORY, ImageCache(tmp_path, bound=0)):
        samples = load_samples(tmp_path, store=store)
        assert [sample.bits for sample in samples] == [given.bits] * 2 == [12, 12]
        for sample, page in zip(samples, given.pages, strict=True):
            expected = segmenter.render(page, as_they_are, given.bits)[0]
            assert np.array_equal(predictor(segmenter)(sample), expected)
            assert not np.array_equal(segmenter.probabilities(sample.pixels)[0], expected) or page.max() > 1023
