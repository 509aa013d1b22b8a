"""Volumes through the command: what becomes of them is what `Segmenter` makes of each section in memory."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from model.images.encoding import to_probability_image
from model.inputs.preprocessing import Pixels
from model.predict import command as predict
from model.predict.volumes.tiff_volume import open_tiff
from model.segmenter import Segmenter
from model.unet import UNet
from model.weights_file import Description, save_weights

# Depth 2 has a grid of 4 and a halo of 28, so that cores, and chunks, are 24 pixels wide
TILE = 80
BLOCK = TILE - 2 * 28

PATIENCE_S = 60

Command = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def weights(make_net: Callable[..., UNet], describe: Callable[..., Description], tmp_path: Path) -> Callable[..., Path]:
    """`weights(**UNetConfig fields)`: a file of a net that wants z-scores."""

    def make(**settings: Any) -> Path:
        net = make_net(**({"depth": 2} | settings))
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        save_weights(path, net.state_dict(), describe(net, preprocessing={"normalisation": "zscore"}))
        return path

    return make


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """`command(weights, *arguments)`: its exit code and what it says, results to tmp_path/out."""

    def run(path: Path, *arguments: object) -> tuple[int, str, list[str]]:
        options = ["--weights", path, "--engine", "torch", "--device", "cpu", "--precision", "fp32", "--tile", TILE]
        code = predict.main([str(text) for text in (*options, "--out", tmp_path / "out", *arguments)])
        output = capsys.readouterr()
        return code, output.out.strip(), output.err.splitlines()

    return run


def stack(make_image: Callable[..., Pixels], shape: tuple[int, ...], dtype: Any = np.uint8) -> NDArray[Any]:
    """An array of that shape, whose last two axes hold images."""
    images = [make_image(*shape[-2:], dtype=dtype, seed=seed) for seed in range(int(np.prod(shape[:-2])))]
    return np.stack(images).reshape(shape)


def save_zarr(path: Path, array: NDArray[Any], axes: str, version: str = "0.5", chunk: int = 32) -> None:
    """An OME-Zarr; sections are half a micrometer apart, pixels a tenth."""
    scale = [{"z": 0.5, "y": 0.1, "x": 0.1}.get(axis, 1.0) for axis in axes]
    types = {"t": "time", "c": "channel"}
    image = {
        "axes": [{"name": axis, "type": types.get(axis, "space"), "unit": "micrometer"} for axis in axes],
        "datasets": [{"path": "full", "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
    }
    multiscales = {"multiscales": [image]}
    group = zarr.create_group(
        path,
        zarr_format=3 if version == "0.5" else 2,
        attributes={"ome": multiscales | {"version": "0.5"}} if version == "0.5" else multiscales,
    )
    chunks = (*(2 for _ in array.shape[:-2]), chunk, chunk)
    group.create_array("full", data=array, chunks=chunks)


def expected(weights: Path, sections: NDArray[Any]) -> NDArray[np.uint8]:
    """Sections in the first axis, H x W or H x W x C each."""
    segmenter = Segmenter.load(weights, engine="torch", device="cpu", precision="fp32")
    return np.stack([segmenter.mask(section) for section in sections])


def result(path: Path) -> Any:
    return zarr.open_group(path, mode="r")["0"]


def multiscale(path: Path) -> Any:
    """The one image that a result's metadata describe."""
    group: Any = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == 3
    [image] = group.attrs["ome"]["multiscales"]
    return image


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        ((1, 1), np.uint8),
        ((37, 103), np.uint16),
        ((BLOCK * 4, TILE + 4), np.uint8),
        ((97, 131), np.uint16),
        ((BLOCK * 4 + 1, 200), np.uint8),
    ],
)
def test_each_section_of_a_volume_is_as_it_is_in_memory(weights, command, make_image, tmp_path, size, dtype):
    array, path = stack(make_image, (3, *size), dtype), weights()
    save_zarr(tmp_path / "cells.ome.zarr", array, "zyx")
    assert command(path, tmp_path / "cells.ome.zarr") == (0, "1 done, 0 kept from before, 0 failed", [])
    masks = result(tmp_path / "out" / "cells_res.zarr")
    assert masks.dtype == np.uint8
    assert masks.chunks == (1, *(side if side <= TILE else BLOCK for side in size))
    assert np.array_equal(masks[:], expected(path, array))


@pytest.mark.parametrize("size", [(37, 103), (160, 97), (161, 200)])
def test_downsampling_nets_keep_section_sizes_without_seams(weights, command, make_image, tmp_path, size):
    array, path = stack(make_image, (3, *size)), weights(depth=1, downsampling=2)
    save_zarr(tmp_path / "cells.ome.zarr", array, "zyx")
    assert command(path, tmp_path / "cells.ome.zarr") == (0, "1 done, 0 kept from before, 0 failed", [])
    masks = result(tmp_path / "out" / "cells_res.zarr")
    largest, halo = 2 * TILE, 20
    assert masks.chunks == (1, *(side if side <= largest else largest - 2 * halo for side in size))
    assert np.array_equal(masks[:], expected(path, array))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_times_and_channels_come_with_axes_and_scales(weights, command, make_image, tmp_path, version):
    array, path = stack(make_image, (2, 3, 3, 100, 90), np.uint16), weights(in_channels=3)
    save_zarr(tmp_path / "cells.zarr", array, "tczyx", version)
    assert command(path, tmp_path / "cells.zarr")[0] == 0
    masks = result(tmp_path / "out" / "cells_res.zarr")
    sections = np.moveaxis(array, 1, -1).reshape(6, 100, 90, 3)
    assert np.array_equal(masks[:].reshape(6, 100, 90), expected(path, sections))
    image = multiscale(tmp_path / "out" / "cells_res.zarr")
    assert [axis["name"] for axis in image["axes"]] == ["t", "z", "y", "x"]
    assert [axis["type"] for axis in image["axes"]] == ["time", "space", "space", "space"]
    assert image["axes"][1]["unit"] == "micrometer"
    assert image["datasets"] == [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 0.5, 0.1, 0.1]}]}
    ]


def test_probabilities_are_of_16_bits_and_of_the_class_asked_for(weights, command, make_image, tmp_path):
    array, path = stack(make_image, (2, 97, 131)), weights(classes=3)
    save_zarr(tmp_path / "cells.zarr", array, "zyx")
    assert command(path, "--output", "probability", "--class", 2, tmp_path / "cells.zarr")[0] == 0
    segmenter = Segmenter.load(path, engine="torch", device="cpu", precision="fp32")
    in_memory = [to_probability_image(segmenter.probabilities(section)[2]) for section in array]
    stored = result(tmp_path / "out" / "cells_res.zarr")[:]
    assert stored.dtype == np.uint16
    assert np.abs(stored.astype(int) - in_memory).max() <= 7  # 1e-4, as tiles may differ


def test_a_bare_array_is_a_volume_too(weights, command, make_image, tmp_path):
    array, path = stack(make_image, (90, 100)), weights()
    zarr.create_array(tmp_path / "section.zarr", data=array)
    assert command(path, tmp_path)[1] == "1 done, 0 kept from before, 0 failed"  # in a folder of inputs
    assert np.array_equal(result(tmp_path / "out" / "section_res.zarr")[:], expected(path, array[None])[0])


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (np.uint8, {}),
        (np.uint16, {}),
        (np.uint8, {"compression": "zlib", "rowsperstrip": 7}),
        (np.uint16, {"compression": "lzw", "tile": (32, 48)}),
        (np.uint16, {"ome": True, "metadata": {"PhysicalSizeZ": 0.5, "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1}}),
        (np.uint8, {"imagej": True, "resolution": (10, 10), "metadata": {"spacing": 0.5, "unit": "um"}}),
        (np.uint16, {"byteorder": ">", "compression": "deflate"}),
    ],
    ids=["mapped", "mapped, 16 bits", "strips", "tiles", "ome", "imagej", "big-endian"],
)
def test_the_pages_of_a_tiff_are_sections(weights, command, make_image, tmp_path, options, dtype):
    array, path = stack(make_image, (3, 97, 131), dtype), weights()
    axes = {"axes": "ZYX"} | options.get("metadata", {})
    tifffile.imwrite(tmp_path / "cells.tif", array, photometric="minisblack", **(options | {"metadata": axes}))
    assert command(path, "--volume", tmp_path / "cells.tif") == (0, "1 done, 0 kept from before, 0 failed", [])
    assert np.array_equal(result(tmp_path / "out" / "cells_res.zarr")[:], expected(path, array))
    image = multiscale(tmp_path / "out" / "cells_res.zarr")
    scale = image["datasets"][0]["coordinateTransformations"][0]["scale"]
    known = "metadata" in options
    assert scale == pytest.approx([0.5, 0.1, 0.1] if known else [1, 1, 1])
    assert [axis.get("unit") for axis in image["axes"]] == ["micrometer" if known else None] * 3


def test_colours_of_a_tiff_become_grey_as_in_memory(weights, command, make_image, tmp_path):
    array, path = np.stack([make_image(97, 131, 3, seed=seed) for seed in range(2)]), weights()
    tifffile.imwrite(tmp_path / "cells.tif", array, photometric="rgb")
    assert command(path, "--volume", tmp_path / "cells.tif")[0] == 0
    assert np.array_equal(result(tmp_path / "out" / "cells_res.zarr")[:], expected(path, array))


def test_without_the_flag_a_tiff_is_an_image(weights, command, make_image, tmp_path):
    tifffile.imwrite(tmp_path / "cells.tif", stack(make_image, (2, 20, 30)), photometric="minisblack")
    assert command(weights(), tmp_path / "cells.tif")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cells_res.tif"]


def test_an_unfinished_volume_resumes_by_chunks(weights, command, make_image, tmp_path):
    array, path = stack(make_image, (2, 97, 131)), weights()
    save_zarr(tmp_path / "cells.zarr", array, "zyx")
    assert command(path, tmp_path / "cells.zarr")[0] == 0
    done, begun = tmp_path / "out" / "cells_res.zarr", tmp_path / "out" / "cells_res.unfinished.zarr"
    whole = result(done)[:]
    done.rename(begun)
    kept, missing = begun / "0/c/0/0/0", [begun / "0/c/0/1/2", begun / "0/c/1/4/5"]
    written = kept.stat().st_mtime_ns
    for chunk in missing:
        chunk.unlink()
    assert command(path, tmp_path / "cells.zarr")[1] == "1 done, 0 kept from before, 0 failed"
    assert np.array_equal(result(done)[:], whole)
    assert (done / "0/c/0/0/0").stat().st_mtime_ns == written
    assert command(path, tmp_path / "cells.zarr")[1].startswith("0 done, 1 kept")
    assert sorted(child.name for child in done.iterdir()) == ["0", "zarr.json"]


def test_a_run_that_is_killed_is_gone_on_with(weights, command, make_image, tmp_path):
    array, path, volume = stack(make_image, (3, 97, 131)), weights(), tmp_path / "cells.zarr"
    save_zarr(volume, array, "zyx")
    options = ["--weights", path, "--engine", "torch", "--device", "cpu", "--precision", "fp32", "--tile", TILE]
    with subprocess.Popen(
        [sys.executable, "-m", "model.predict", *map(str, options), "--tta=8", "--out", tmp_path / "out", volume],
    ) as process:
        last = time.monotonic() + PATIENCE_S
        while len(done := list(tmp_path.glob("out/cells_res.unfinished.zarr/0/c/*/*/[0-9]"))) < 3:
            assert process.poll() is None
            assert time.monotonic() < last
            time.sleep(0.005)
        process.kill()
    written = {path.relative_to(tmp_path / "out").parts[1:]: path.stat().st_mtime_ns for path in done}
    assert command(path, "--tta", 8, volume)[1] == "1 done, 0 kept from before, 0 failed"
    found = tmp_path / "out" / "cells_res.zarr"
    assert {place: found.joinpath(*place).stat().st_mtime_ns for place in written} == written
    masks = result(found)[:]
    assert command(path, "--tta", 8, "--overwrite", volume)[0] == 0
    assert np.array_equal(masks, result(found)[:])
    assert len([path for path in found.rglob("*") if path.is_file()]) == 3 * 5 * 6 + 2  # nothing else is left


def test_an_unfinished_volume_with_other_options_is_not_resumed(weights, command, make_image, tmp_path):
    path, volume = weights(), tmp_path / "cells.zarr"
    save_zarr(volume, stack(make_image, (2, 30, 40)), "zyx")
    assert command(path, volume)[0] == 0
    (tmp_path / "out" / "cells_res.zarr").rename(tmp_path / "out" / "cells_res.unfinished.zarr")
    told = f"predict: {volume}: it was begun with another threshold: --overwrite begins it again"
    assert command(path, "--threshold", 0.9, volume) == (1, "0 done, 0 kept from before, 1 failed", [told])
    assert command(path, "--threshold", 0.9, "--overwrite", volume)[0] == 0
    attributes = json.loads((tmp_path / "out" / "cells_res.zarr" / "zarr.json").read_text())["attributes"]
    assert attributes["unet"]["threshold"] == 0.9


def test_a_volume_killed_before_its_array_existed_fails_separately(weights, command, make_image, tmp_path):
    for name in "ab":
        save_zarr(tmp_path / f"{name}.zarr", stack(make_image, (2, 30, 40)), "zyx")
    zarr.create_group(tmp_path / "out" / "a_res.unfinished.zarr")
    path, volumes = weights(), [tmp_path / "a.zarr", tmp_path / "b.zarr"]
    code, summary, [told] = command(path, *volumes)
    assert (code, summary) == (1, "1 done, 0 kept from before, 1 failed")
    assert told.startswith(f"predict: {volumes[0]}: ")
    assert told.endswith("--overwrite begins it again")
    assert command(path, "--overwrite", *volumes)[0] == 0


def test_a_damaged_volume_fails_and_the_others_are_segmented(weights, command, make_image, tmp_path):
    array, path, volume = stack(make_image, (2, 97, 131)), weights(), tmp_path / "cells.zarr"
    save_zarr(volume, array, "zyx")
    (damaged := volume / "full/c/0/2/3").write_bytes(b"nonsense")
    save_zarr(tmp_path / "other.zarr", array, "zyx")
    code, out, [told] = command(path, volume, tmp_path / "other.zarr")
    assert (code, out) == (1, "1 done, 0 kept from before, 1 failed")
    assert told.startswith(f"predict: {volume}: The volume cannot be read")
    damaged.write_bytes((tmp_path / "other.zarr" / "full/c/0/2/3").read_bytes())
    assert command(path, volume)[1] == "1 done, 0 kept from before, 0 failed"
    assert np.array_equal(result(tmp_path / "out" / "cells_res.zarr")[:], expected(path, array))


@pytest.mark.parametrize(
    ("array", "axes", "text"),
    [
        (np.zeros((2, 9, 9), np.complex64), "zyx", "Pixels of type complex64 are not accepted"),
        (np.zeros((2, 3, 9, 9), np.uint8), "zcyx", "Its axes are zcyx"),
        (np.zeros((3, 9, 9), np.uint8), "cyx", "the net takes 1 channels, the volume has 3"),
        (np.zeros((0, 9, 9), np.uint8), "zyx", "It has no pixels"),
    ],
)
def test_volumes_of_another_kind_are_named_with_the_reason(weights, command, tmp_path, array, axes, text):
    save_zarr(tmp_path / "cells.zarr", array, axes)
    code, _, [told] = command(weights(), tmp_path / "cells.zarr")
    assert code == 1
    assert text in told


def test_zarr_groups_without_an_image_fail(weights, command, tmp_path):
    zarr.create_group(tmp_path / "plate.zarr", attributes={"ome": {"version": "0.5", "plate": {}}})
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    code, _, told = command(weights(), tmp_path / "plate.zarr", tmp_path / "broken.zarr")
    assert code == 1
    assert told == [
        f"predict: {tmp_path}/plate.zarr: The group holds no image of its own (it has no multiscales): name one.",
        f"predict: {tmp_path}/broken.zarr: The Zarr folder is broken, or not an image by OME-NGFF 0.4 or 0.5.",
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "miniswhite"},
        {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
        {"photometric": "minisblack", "extratags": [(274, "H", 1, 6, True)]},
    ],
    ids=["white-is-zero", "palette", "turned"],
)
def test_tiffs_that_are_read_otherwise_in_memory_are_refused(weights, command, tmp_path, options):
    tifffile.imwrite(tmp_path / "cells.tif", np.zeros((2, 9, 9), np.uint8), **options)
    code, _, [told] = command(weights(), "--volume", tmp_path / "cells.tif")
    assert code == 1
    assert "TIFF volumes are accepted in grey or RGB" in told


@pytest.mark.parametrize("options", [{}, {"rowsperstrip": 7}, {"compression": "zlib", "tile": (32, 48)}])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_tiff_that_is_cut_off_fails(weights, command, make_image, tmp_path, options, share):
    array, path = stack(make_image, (3, 97, 131)), weights()
    tifffile.imwrite(tmp_path / "cells.tif", array, photometric="minisblack", **options)
    data = (tmp_path / "cells.tif").read_bytes()
    (tmp_path / "cells.tif").write_bytes(data[: int(len(data) * share)])
    code, _, [told] = command(path, "--volume", tmp_path / "cells.tif")
    assert code == 1
    assert told.endswith(": The TIFF file is broken or truncated.") or "The volume cannot be read" in told


def test_object_outputs_of_volumes_are_refused_with_exit_code_2(weights, command, make_image, tmp_path):
    save_zarr(tmp_path / "cells.zarr", stack(make_image, (2, 9, 9)), "zyx")
    assert command(weights(), "--output", "geojson", tmp_path / "cells.zarr") == (
        2,
        "",
        ["predict: --output geojson: volumes have only the outputs mask and probability"],
    )


@pytest.mark.parametrize(
    ("options", "scale", "unit"),
    [
        (
            {"ome": True, "metadata": {"PhysicalSizeX": 4, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 4}},
            4,
            "nanometer",
        ),
        ({"ome": True, "metadata": dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY"), 0.1)}, 0.1, "micrometer"),
        ({"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}, 0.5, "micrometer"),
        ({"resolution": (96, 96), "resolutionunit": "INCH"}, 1, None),
        ({"imagej": True, "resolution": (300, 300), "metadata": {"unit": "inch"}}, 25400 / 300, "micrometer"),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "\\u00B5m"}}, 0.5, "micrometer"),
    ],
)
def test_a_volume_has_the_pixel_size_of_its_tiff(tmp_path, options, scale, unit):
    metadata = {"axes": "ZYX"} | options.get("metadata", {})
    pixels = np.zeros((2, 16, 16), np.uint8)
    tifffile.imwrite(tmp_path / "v.tif", pixels, photometric="minisblack", **(options | {"metadata": metadata}))
    volume = open_tiff(tmp_path / "v.tif")
    volume.close()
    assert volume.space.scale[1:] == pytest.approx((scale, scale))
    assert [details.get("unit") for details in volume.space.details[1:]] == [unit, unit]


def test_a_tiff_of_a_slide_scanner_is_a_volume_by_its_first_bytes(weights, command, make_image, tmp_path):
    tifffile.imwrite(tmp_path / "slide.svs", stack(make_image, (2, 20, 30)), photometric="minisblack")
    assert command(weights(), "--volume", tmp_path / "slide.svs")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["slide_res.zarr"]
