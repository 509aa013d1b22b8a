"""The range of a volume's values: a volume is scaled as `model.predict` scales the same file as an image."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from model.images.decoding import decode_pages
from model.images.value_range import to_values
from model.inputs.preprocessing import Pixels
from model.inputs.preprocessing import used_bits as used_bits_in_memory
from model.predict import command as predict
from model.predict.volumes.ranges import BLOCK, Stretch, measure, merge, used_bits
from model.unet import UNet
from model.weights_file import Description, save_weights

Predict = Callable[..., tuple[int, list[str]]]

# Probabilities in 16 bits that differ by no more, 1e-4, are those of other tiles.
CLOSE = 7


@pytest.fixture
def predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Predict:
    """`predicted(weights, *arguments)`: writes probabilities to tmp_path/out; exit code and lines of stderr."""

    def run(weights: Path, *arguments: object) -> tuple[int, list[str]]:
        options = ["--engine", "torch", "--device", "cpu", "--precision", "fp32", "--tile", 80, "--output"]
        given = ["--weights", weights, *options, "probability", "--out", tmp_path / "out", *arguments]
        return predict.main([str(text) for text in given]), capsys.readouterr().err.splitlines()

    return run


@pytest.fixture
def weights(make_net: Callable[..., UNet], describe: Callable[..., Description], tmp_path: Path) -> Callable[..., Path]:
    """`weights(normalisation, in_channels)`: a file of a net with random weights."""

    def make(normalisation: str = "none", in_channels: int = 1) -> Path:
        net, path = make_net(depth=2, in_channels=in_channels), tmp_path / "net.safetensors"
        save_weights(path, net.state_dict(), describe(net, preprocessing={"normalisation": normalisation}))
        return path

    return make


def probabilities(path: Path) -> NDArray[np.int64]:
    """The pages of a TIFF or Zarr result."""
    if path.is_dir():
        array: Any = zarr.open_group(path, mode="r")["0"]
        return np.asarray(array[:], np.int64)
    return np.stack(decode_pages(path.read_bytes())).astype(np.int64)


def sections_of(make_image: Callable[..., Pixels], dtype: Any, *, holes: bool = False) -> NDArray[Any]:
    """Three sections of 97 x 131 with another range each; `holes`: with NaN and infinite values."""
    found = np.stack([make_image(97, 131, dtype=np.uint16, seed=seed) // (17 + 40 * seed) for seed in range(3)])
    if dtype == np.uint16:
        return found
    values = (found.astype(np.float64) - 500).astype(dtype)
    if holes:
        values[0, 5:20, 7:60] = np.nan
        values[1, 90:, :] = np.inf
        values[2, :3, :3] = -np.inf
        values[2, 50, 50:] = np.nan
    return values


def assert_volume_equals_image(predicted: Predict, weights: Path, tmp_path: Path, file: Path) -> list[str]:
    """Compares the results of a TIFF as a volume and as an image; returns the notices, which must be the same."""
    as_image = predicted(weights, file)
    assert as_image[0] == 0
    assert predicted(weights, "--volume", file) == as_image
    found, expected = (probabilities(tmp_path / "out" / f"{file.stem}_res{suffix}") for suffix in (".zarr", ".tif"))
    assert np.ptp(expected) > 5000
    assert np.abs(found - expected).max() <= CLOSE
    return as_image[1]


@pytest.mark.parametrize("normalisation", ["none", "zscore"])
def test_a_12_bit_volume_is_scaled_as_an_image(predicted, weights, make_image, tmp_path, normalisation):
    file = tmp_path / "cells.tif"
    tifffile.imwrite(file, sections_of(make_image, np.uint16), photometric="minisblack")
    told = assert_volume_equals_image(predicted, weights(normalisation), tmp_path, file)
    notice = "Pixel values use 12 of 16 bits, so 0 to 4095 were scaled to the full range of the net."
    assert told == ([] if normalisation == "zscore" else [f"predict: {file}: {notice}"])


@pytest.mark.parametrize("stated", [14, 16])
def test_significant_bits_of_ome_count_in_volumes(predicted, weights, make_image, tmp_path, stated):
    metadata = {"axes": "ZYX", "SignificantBits": stated}
    file = tmp_path / "cells.ome.tif"
    tifffile.imwrite(file, sections_of(make_image, np.uint16), ome=True, metadata=metadata)
    [told] = assert_volume_equals_image(predicted, weights(), tmp_path, file.rename(tmp_path / "cells.tif"))
    assert f"Pixel values use {14 if stated == 14 else 12} of 16 bits" in told


@pytest.mark.parametrize("kind", ["8 bits spread over 16", "bright"])
def test_the_full_range_of_16_bits_is_kept_without_a_notice(predicted, weights, make_image, tmp_path, kind):
    sections = sections_of(make_image, np.uint16) // 100
    sections = sections * 257 if kind == "8 bits spread over 16" else sections * 1000 + 3
    tifffile.imwrite(tmp_path / "cells.tif", sections.astype(np.uint16), photometric="minisblack")
    assert assert_volume_equals_image(predicted, weights(), tmp_path, tmp_path / "cells.tif") == []


@pytest.mark.parametrize(
    ("normalisation", "dtype"),
    [
        *(("none", dtype) for dtype in (np.int8, np.int16, np.uint32, np.int32, np.float16, np.float32, np.float64)),
        *(("zscore", dtype) for dtype in (np.int16, np.float32)),
    ],
)
def test_volumes_of_any_type_are_scaled_as_images(predicted, weights, make_image, tmp_path, normalisation, dtype):
    sections, file = sections_of(make_image, dtype), tmp_path / "cells.tif"
    tifffile.imwrite(file, sections, photometric="minisblack", compression="zlib", rowsperstrip=16)
    told = assert_volume_equals_image(predicted, weights(normalisation), tmp_path, file)
    low, high = float(sections.min()), float(sections.max())
    notice = f"Pixel values from {low:g} to {high:g} were scaled to the full range of the net."
    assert told == ([] if normalisation == "zscore" else [f"predict: {file}: {notice}"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("normalisation", "dtype"),
    [("none", np.float16), ("none", np.float32), ("none", np.float64), ("zscore", np.float32)],
)
def test_nan_and_infinity_of_volumes_count_as_in_images(predicted, weights, make_image, tmp_path, normalisation, dtype):
    sections = sections_of(make_image, dtype, holes=True)
    tifffile.imwrite(tmp_path / "cells.tif", sections, photometric="minisblack", rowsperstrip=16)
    assert_volume_equals_image(predicted, weights(normalisation), tmp_path, tmp_path / "cells.tif")


@pytest.mark.parametrize("normalisation", ["none", "zscore"])
def test_float_colours_of_a_volume_have_one_range(predicted, weights, make_image, tmp_path, normalisation):
    colours = np.stack([sections_of(make_image, np.float32) * factor for factor in (1, 3, 5)], axis=-1)
    colours[0, :30, :30, 1] = np.nan
    tifffile.imwrite(tmp_path / "cells.tif", colours, photometric="rgb")
    assert_volume_equals_image(predicted, weights(normalisation), tmp_path, tmp_path / "cells.tif")


def test_each_channel_of_a_volume_has_its_own_range(predicted, weights, make_image, tmp_path):
    channels = np.stack([sections_of(make_image, np.float32) * factor for factor in (1, 300)], axis=1)
    file = tmp_path / "cells.tif"
    tifffile.imwrite(file, channels, imagej=True, metadata={"axes": "ZCYX"})
    net = weights(in_channels=2)
    assert predicted(net, file)[0] == 0
    moved = np.moveaxis(channels, 1, 0)
    zarr.create_array(tmp_path / "cells.zarr", data=moved, chunks=(2, 2, 32, 32), dimension_names=list("czyx"))
    assert predicted(net, tmp_path / "cells.zarr")[0] == 0
    found, expected = (probabilities(tmp_path / "out" / f"cells_res{suffix}") for suffix in (".zarr", ".tif"))
    assert np.abs(found - expected).max() <= CLOSE


@pytest.mark.parametrize("chunks", [(2, 32, 32), (3, 97, 131), (1, 97, 40)])
@pytest.mark.parametrize(("dtype", "holes"), [(np.uint16, False), (np.float32, True)])
def test_an_ome_zarr_equals_the_tiff_with_its_sections(predicted, weights, make_image, tmp_path, chunks, dtype, holes):
    sections, net = sections_of(make_image, dtype, holes=holes), weights()
    tifffile.imwrite(tmp_path / "tiff.tif", sections, photometric="minisblack")
    zarr.create_array(tmp_path / "zarr.zarr", data=sections, chunks=chunks)
    assert predicted(net, tmp_path / "tiff.tif")[1][0].endswith("scaled to the full range of the net.")
    assert predicted(net, tmp_path / "zarr.zarr")[1][0].endswith("scaled to the full range of the net.")
    found, expected = (probabilities(tmp_path / "out" / name) for name in ("zarr_res.zarr", "tiff_res.tif"))
    assert np.abs(found - expected).max() <= CLOSE


@pytest.mark.parametrize("normalisation", ["none", "zscore"])
def test_a_resumed_volume_keeps_the_range_of_all_sections(predicted, weights, make_image, tmp_path, normalisation):
    sections, net = sections_of(make_image, np.float32, holes=True), weights(normalisation)
    zarr.create_array(tmp_path / "cells.zarr", data=sections, chunks=(1, 32, 32))
    assert predicted(net, tmp_path / "cells.zarr")[0] == 0
    done, begun = tmp_path / "out" / "cells_res.zarr", tmp_path / "out" / "cells_res.unfinished.zarr"
    whole = probabilities(done)
    done.rename(begun)
    for chunk in (begun / "0" / "c" / "2").rglob("*"):
        if chunk.is_file():
            chunk.unlink()
    shutil.copytree(begun, again := tmp_path / "again.zarr")
    assert predicted(net, tmp_path / "cells.zarr")[0] == 0
    assert np.array_equal(probabilities(done), whole)
    assert sorted(child.name for child in done.iterdir()) == ["0", "zarr.json"]
    # stored ranges are used, not measured again
    shutil.rmtree(done)
    again.rename(begun)
    ranges = {f"0,{z}": measure(sections[z][:, :, None] * 2, colours=False) for z in range(3)}
    (begun / "ranges.json").write_text(json.dumps(ranges))
    assert predicted(net, tmp_path / "cells.zarr")[0] == 0
    assert np.array_equal(probabilities(done)[:2], whole[:2])
    assert not np.array_equal(probabilities(done)[2], whole[2])


def test_a_result_begun_without_a_range_is_not_resumed(predicted, weights, make_image, tmp_path):
    zarr.create_array(tmp_path / "cells.zarr", data=sections_of(make_image, np.uint16), chunks=(1, 32, 32))
    assert predicted(weights(), tmp_path / "cells.zarr")[0] == 0
    begun = tmp_path / "out" / "cells_res.unfinished.zarr"
    (tmp_path / "out" / "cells_res.zarr").rename(begun)
    attributes = json.loads((begun / "zarr.json").read_text())
    del attributes["attributes"]["unet"]["range"]
    (begun / "zarr.json").write_text(json.dumps(attributes))
    code, [told] = predicted(weights(), tmp_path / "cells.zarr")
    assert code == 1
    assert told.endswith("it was begun with another range: --overwrite begins it again")


def test_a_part_that_cannot_be_read_fails_the_measurement(predicted, weights, make_image, tmp_path):
    zarr.create_array(tmp_path / "cells.zarr", data=sections_of(make_image, np.int16), chunks=(1, 32, 32))
    (tmp_path / "cells.zarr/c/1/2/3").write_bytes(b"nonsense")
    code, [told] = predicted(weights("zscore"), tmp_path / "cells.zarr")
    assert (code, "The volume cannot be read" in told) == (1, True)


@pytest.mark.parametrize("factor", [1, 256, 257])
@pytest.mark.parametrize("highest", [0, 200, 255, 256, 1023, 4095, 16383, 16384, 65535])
def test_bits_of_parts_are_those_of_the_whole(factor, highest):
    values = np.random.default_rng(highest).integers(0, highest // factor, (50, 40), endpoint=True) * factor
    pixels: NDArray[Any] = values.astype(np.uint16)
    halves = [measure(part[:, :, None], colours=False) for part in np.array_split(pixels, 2)]
    assert used_bits(merge(halves)) == used_bits_in_memory([pixels])


@pytest.mark.parametrize(
    "values",
    [
        np.array([[1.5, -3.0, np.nan, np.inf]]),
        np.array([[np.nan, np.nan]]),
        np.array([[np.inf, -np.inf, np.nan]]),
        np.array([[7.0, np.nan, 7.0]]),
        np.array([[1.7e308, -1.7e308, np.nan, 1.7e308]]),
        np.array([[5e-324, np.nan, 0.0]]),
        np.array([[2**63 - 1, -(2**63), 0]], np.int64),
        np.linspace(-1, 1, BLOCK + 5).reshape(-1, 1),
    ],
    ids=["mixed", "only NaN", "nothing finite", "constant", "largest", "smallest", "int64", "several blocks"],
)
def test_a_section_is_stretched_as_in_memory(values):
    found = measure(values[:, :, None], colours=False)
    [expected], _ = to_values([values])
    stretched = Stretch.of(found, found, colours=False).apply(values[:, :, None])
    assert np.allclose(stretched[:, :, 0], expected, rtol=0, atol=1e-7)
