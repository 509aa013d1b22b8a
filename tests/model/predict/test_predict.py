import csv
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from model.images.decoding import decode_image, decode_pages
from model.images.encoding import encode_png, encode_tiff, to_probability_image
from model.inputs.preprocessing import Pixels
from model.outputs.output import OUTPUTS
from model.predict.command import main
from model.segmenter import Segmenter
from model.unet import UNet
from model.weights_file import Description, save_weights
from tests.support import forked
from tests.support.image_files import tiff

PATIENCE_S = 60

# pycocotools hands numpy arrays of the kind before numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@dataclass
class Done:
    """What a command gave: its exit code and its output."""

    code: int
    out: str
    err: list[str]


Predict = Callable[..., Done]


@pytest.fixture
def engine(weights_path: Path) -> list[str]:
    """Options for the small net on the CPU in fp32."""
    return ["--weights", str(weights_path), "--engine", "torch", "--device", "cpu", "--precision", "fp32"]


@pytest.fixture
def predict(engine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Predict:
    """`predict(*arguments)`: the command in this process, results to tmp_path/out."""

    def run(*arguments: object) -> Done:
        code = main([*engine, "--out", str(tmp_path / "out"), *map(str, arguments)])
        output = capsys.readouterr()
        return Done(code, output.out.strip(), output.err.splitlines())

    return run


@pytest.fixture
def refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`refuse(*arguments)`: the one line of a command that ends with code 2 and makes nothing."""

    def run(*arguments: object) -> str:
        try:
            code: object = main(["--out", str(tmp_path / "out"), *map(str, arguments)])
        except SystemExit as end:
            code = end.code
        output = capsys.readouterr()
        assert (code, output.out, (tmp_path / "out").is_dir()) == (2, "", False)
        [line] = output.err.splitlines()
        assert line.startswith("predict: ")
        return line

    return run


@pytest.fixture
def segmenter(weights_path: Path) -> Segmenter:
    return Segmenter.load(weights_path, engine="torch", device="cpu", precision="fp32")


@pytest.fixture
def folder(tmp_path: Path, make_image: Callable[..., Pixels]) -> Path:
    """A folder of three images: grey, 16 bits, colour."""
    images = {
        "a.png": make_image(40, 50),
        "b.png": make_image(33, 70, dtype=np.uint16),
        "c.png": make_image(20, 30, channels=3),
    }
    (tmp_path / "in").mkdir()
    for name, image in images.items():
        (tmp_path / "in" / name).write_bytes(encode_png(image))
    return tmp_path / "in"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_each_image_of_a_folder_becomes_the_segmenters_mask(
    predict: Predict, folder: Path, segmenter: Segmenter, tmp_path: Path
):
    (folder / "notes.txt").write_text("no image")
    (folder / "tiles.tif").mkdir()
    told = "predict: passed over what is no image by its name (2): notes.txt, tiles.tif"
    assert predict(folder) == Done(0, "3 done, 0 kept from before, 0 failed", [told])
    assert names(tmp_path / "out") == ["a_res.png", "b_res.png", "c_res.png"]
    for path in folder.glob("*.png"):
        mask = decode_image((tmp_path / "out" / f"{path.stem}_res.png").read_bytes())
        assert set(np.unique(mask)) == {0, 255}
        assert np.array_equal(mask, segmenter.mask(decode_image(path.read_bytes())))


def test_files_folders_and_quoted_globs_mix(predict: Predict, folder: Path, tmp_path: Path):
    more = tmp_path / "more" / "deep"
    more.mkdir(parents=True)
    (folder / "c.png").rename(more / "c.png")
    assert predict(folder / "a.png", f"{tmp_path}/more/**/*.png", folder).code == 0
    assert names(tmp_path / "out") == ["a_res.png", "b_res.png", "c_res.png"]


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_is_made_under_its_own_suffix(predict: Predict, folder: Path, tmp_path: Path, output: str):
    suffix = {"geojson": "geojson", "coco": "json", "table": "csv", "rois": "zip"}.get(output, "png")
    joined = ["objects.csv"] if output == "table" else []
    assert predict("--output", output, folder).code == 0
    assert names(tmp_path / "out") == [*(f"{stem}_res.{suffix}" for stem in "abc"), *joined]
    assert predict("--output", output, folder).out.startswith("0 done, 3 kept from before")
    data = (tmp_path / "out" / f"a_res.{suffix}").read_bytes()
    if suffix == "png":
        assert decode_image(data).shape == ((40, 50, 3) if output == "overlay" else (40, 50))
    elif output in ("geojson", "coco"):
        assert json.loads(data)["features" if output == "geojson" else "annotations"]


def test_the_tables_of_a_folder_are_joined(predict: Predict, folder: Path, tmp_path: Path):
    assert predict("--output", "table", folder).code == 0
    rows = read_rows(tmp_path / "out" / "objects.csv")
    assert {row["file"] for row in rows} == {str(folder / f"{stem}.png") for stem in "abc"}
    first = [row for row in rows if row["file"] == str(folder / "a.png")]
    alone = read_rows(tmp_path / "out" / "a_res.csv")
    assert [{name: row[name] for name in alone[0]} for row in first] == alone
    (folder / "b.png").unlink()
    assert predict("--output", "table", folder).out.startswith("0 done, 2 kept from before")
    assert read_rows(tmp_path / "out" / "objects.csv") == [row for row in rows if "b.png" not in row["file"]]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_small_objects_are_dropped_if_that_is_wanted(predict: Predict, folder: Path, tmp_path: Path):
    assert predict("--output", "table", folder / "a.png").code == 0
    areas = sorted(int(row["area_px"]) for row in read_rows(tmp_path / "out" / "a_res.csv"))
    least = areas[len(areas) // 2] + 1
    assert predict("--output", "table", "--min-area", least, "--overwrite", folder / "a.png").code == 0
    kept = sorted(int(row["area_px"]) for row in read_rows(tmp_path / "out" / "a_res.csv"))
    assert kept == [area for area in areas if area >= least]


def test_the_threshold_is_the_one_given(predict: Predict, folder: Path, segmenter: Segmenter, tmp_path: Path):
    assert predict("--threshold", 0.7, folder / "a.png").code == 0
    mask = decode_image((tmp_path / "out" / "a_res.png").read_bytes())
    image = decode_image((folder / "a.png").read_bytes())
    assert np.array_equal(mask, segmenter.mask(image, 0.7))
    assert not np.array_equal(mask, segmenter.mask(image))


def test_tta_and_tile_are_the_segmenters(predict: Predict, folder: Path, weights_path: Path, tmp_path: Path):
    assert predict("--tta", 4, "--tile", 256, "--output", "probability", folder / "a.png").code == 0
    averaged = Segmenter.load(weights_path, engine="torch", device="cpu", precision="fp32", tile=256, tta=4)
    expected = averaged.probabilities(decode_image((folder / "a.png").read_bytes()))[0]
    assert np.array_equal(decode_image((tmp_path / "out" / "a_res.png").read_bytes()), to_probability_image(expected))


def test_class_probabilities_are_those_of_the_requested_class(
    make_net: Callable[..., UNet], describe: Callable[..., Description], predict: Predict, folder: Path, tmp_path: Path
):
    net = make_net(classes=3)
    path = tmp_path / "three.safetensors"
    save_weights(path, net.state_dict(), describe(net))
    assert predict("--weights", path, "--output", "probability", "--class", 2, folder / "a.png").code == 0
    expected = Segmenter.load(path, engine="torch", device="cpu", precision="fp32").probabilities(
        decode_image((folder / "a.png").read_bytes())
    )
    stored = decode_image((tmp_path / "out" / "a_res.png").read_bytes())
    assert np.array_equal(stored, to_probability_image(expected[2]))


def test_a_stack_becomes_a_stack_of_as_many_pages(
    predict: Predict, make_image: Callable[..., Pixels], segmenter: Segmenter, tmp_path: Path
):
    pages = [make_image(40, 50, seed=seed) for seed in range(3)]
    (tmp_path / "stack.tif").write_bytes(encode_tiff(pages))
    (tmp_path / "single.tif").write_bytes(encode_tiff(pages[:1]))
    assert predict(tmp_path / "stack.tif", tmp_path / "single.tif").code == 0
    assert names(tmp_path / "out") == ["single_res.png", "stack_res.tif"]
    for page, mask in zip(pages, decode_pages((tmp_path / "out" / "stack_res.tif").read_bytes()), strict=True):
        assert np.array_equal(mask, segmenter.mask(page))
    assert predict(tmp_path / "stack.tif", tmp_path / "single.tif").out.startswith("0 done, 2 kept")


def test_channels_that_are_not_used_are_named_once(predict: Predict, make_image: Callable[..., Pixels], tmp_path: Path):
    first, second = make_image(40, 50), make_image(40, 50, seed=1)
    two = tiff(np.stack([first, second]), imagej=True, metadata={"axes": "CYX"})
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).write_bytes(two)
    done = predict(tmp_path / "a.tif", tmp_path / "b.tif")
    assert done.code == 0
    assert done.err == [
        f"predict: {tmp_path / 'a.tif'} and 1 more: The image has 2 channels: 0, 1. Channel 0 was used; "
        "choose another by its number or name."
    ]
    again = predict(tmp_path / "a.tif", "--channel", "1", "--overwrite")
    assert again.err == []
    assert "no channel 'DAPI'" in predict(tmp_path / "a.tif", "--channel", "DAPI", "--overwrite").err[0]


def test_the_chosen_channel_is_segmented(
    predict: Predict, make_image: Callable[..., Pixels], segmenter: Segmenter, tmp_path: Path
):
    images = [make_image(40, 50, seed=seed) for seed in range(2)]
    (tmp_path / "a.tif").write_bytes(tiff(np.stack(images), imagej=True, metadata={"axes": "CYX"}))
    assert predict(tmp_path / "a.tif", "--channel", "1").code == 0
    assert np.array_equal(decode_image((tmp_path / "out/a_res.png").read_bytes()), segmenter.mask(images[1]))


def test_existing_results_are_kept_without_overwrite(predict: Predict, folder: Path, tmp_path: Path):
    kept = tmp_path / "out" / "b_res.png"
    kept.parent.mkdir()
    kept.write_bytes(b"from before")
    assert predict(folder).out == "2 done, 1 kept from before (--overwrite makes them again), 0 failed"
    assert kept.read_bytes() == b"from before"
    assert predict("--overwrite", folder).out == "3 done, 0 kept from before, 0 failed"
    assert decode_image(kept.read_bytes()).shape == (33, 70)


def test_results_in_the_images_own_folder_are_not_segmented_in_turn(predict: Predict, folder: Path):
    for done in ("3 done, 0 kept", "0 done, 3 kept"):
        assert predict("--out", folder, folder).out.startswith(done)
    assert len(names(folder)) == 6


def test_an_image_named_like_a_result_is_reported_as_skipped(predict: Predict, folder: Path, tmp_path: Path):
    image = (folder / "a.png").rename(folder / "a_res.png")
    refused = predict(image, "--out", folder)
    assert refused.code == 2
    assert refused.err == [
        f"predict: what is in {folder} and called _res is taken for results; to segment it, use another --out"
    ]
    assert predict(image, "--out", tmp_path / "out").code == 0
    assert names(tmp_path / "out") == ["a_res_res.png"]


def test_images_of_one_stem_each_get_their_result(
    predict: Predict, make_image: Callable[..., Pixels], folder: Path, tmp_path: Path
):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.png").write_bytes(encode_png(make_image(17, 18)))
    (folder / "b.tif").write_bytes(encode_tiff([make_image(19, 20)]))
    done = predict(folder, other)
    assert (done.code, done.out) == (0, "5 done, 0 kept from before, 0 failed")
    assert done.err == ["predict: 4 images share their names with others; results get longer ones, such as in_a_res"]
    shapes = {path.name: decode_image(path.read_bytes()).shape for path in (tmp_path / "out").iterdir()}
    assert shapes == {
        "in_a_res.png": (40, 50),
        "other_a_res.png": (17, 18),
        "b_png_res.png": (33, 70),
        "b_tif_res.png": (19, 20),
        "c_res.png": (20, 30),
    }


def test_failed_images_are_named_with_a_reason_and_others_continue(predict: Predict, folder: Path, tmp_path: Path):
    broken, text, missing = folder / "b.png", tmp_path / "notes.txt", tmp_path / "nowhere.png"
    broken.write_bytes(broken.read_bytes()[:-20])
    text.write_text("no image")
    assert predict(folder, text, missing, f"{folder}/*.tif") == Done(
        1,
        "2 done, 0 kept from before, 4 failed",
        [
            f"predict: {missing}: no such file",
            f"predict: {folder}/*.tif: no image matches",
            f"predict: {broken}: The PNG file is broken or truncated.",
            f"predict: {text}: The file is not an image: PNG, JPEG, TIFF, BMP and WebP are accepted.",
        ],
    )
    assert names(tmp_path / "out") == ["a_res.png", "c_res.png"]


def test_images_of_other_channels_or_too_large_to_decode_fail(
    make_net: Callable[..., UNet], describe: Callable[..., Description], predict: Predict, folder: Path, tmp_path: Path
):
    net = make_net(in_channels=2)
    save_weights(tmp_path / "two.safetensors", net.state_dict(), describe(net))
    (folder / "a.png").write_bytes(_png_header(40_000, 30_000))
    done = predict("--weights", tmp_path / "two.safetensors", folder / "a.png", folder / "b.png")
    assert done.code == 1
    assert sorted(done.err) == [
        f"predict: {folder}/a.png: The image has 40000 x 30000 pixels, more than the 1073741824 that can be decoded.",
        f"predict: {folder}/b.png: the net takes 2 channels, the image has 1",
    ]


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be larger than it is."""
    whole = encode_png(np.zeros((1, 1), np.uint8))
    chunk = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + whole[24:29]
    return whole[:12] + chunk + zlib.crc32(chunk).to_bytes(4) + whole[33:]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "INPUT"),
        (["--threshold", "1"], "--threshold 1: a number between 0 and 1 is expected"),
        (["--threshold", "nan"], "--threshold nan"),
        (["--threshold", "half"], "--threshold: invalid float"),
        (["--class", "1"], "--class 1: the net's classes are 0 to 0"),
        (["--output", "masks"], "'masks' (choose from"),
        (["--tile", "100"], "tile must be a multiple of 16"),
        (["--device", "cuda:99"], "device 'cuda:99' is not available here"),
        (["--weights", "nowhere.safetensors"], "weights nowhere.safetensors: no such file"),
        (["--workers", "2"], "--workers and --cpus need --ray"),
        (["--ray", "--workers", "0"], "--workers: must be 1 or more"),
        (["--ray", "127.0.0.1:1"], "--ray: the cluster at 127.0.0.1:1 cannot be joined"),
    ],
)
def test_bad_arguments_are_one_line_and_code_2(
    refuse: Callable[..., str], folder: Path, arguments: list[str], text: str
):
    assert text in refuse(*arguments, *([folder] if arguments else []))


def test_without_ray_that_is_one_line_and_code_2(
    refuse: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("model.predict.command.find_spec", lambda _name: None)
    assert "--ray needs the package ray, which is not installed" in refuse("--ray", folder)


def test_a_file_where_the_results_should_go_is_code_2(refuse: Callable[..., str], folder: Path):
    assert "a.png" in refuse("--out", folder / "a.png", folder)


def test_ctrl_c_keeps_finished_results_and_a_repeat_continues(
    engine: list[str], make_image: Callable[..., Pixels], interrupt: Callable[..., str], tmp_path: Path
):
    (tmp_path / "in").mkdir()
    for number in range(120):
        (tmp_path / "in" / f"{number}.png").write_bytes(encode_png(make_image(256, 256, seed=number)))
    command = ["model.predict", *engine, "--tta", "8", "--out", str(tmp_path / "out")]
    out = interrupt([*command, str(tmp_path / "in")], tmp_path / "out")
    finished = names(tmp_path / "out")
    assert 0 < len(finished) < 120
    assert all(decode_image((tmp_path / "out" / name).read_bytes()).shape == (256, 256) for name in finished)
    told = f"{len(finished)} done, 0 kept from before, 0 failed; stopped, the same command resumes here\n"
    assert out == told
    left = next(image for image in (tmp_path / "in").iterdir() if f"{image.stem}_res.png" not in finished)
    again = [left, *(tmp_path / "in" / name.replace("_res", "") for name in finished)]
    done = forked.run(*command, *again)
    assert done.stdout.startswith(f"1 done, {len(finished)} kept from before")
