from collections.abc import Callable
from pathlib import Path

import pytest

from model.predict.inputs import find_images, images_in, name_results

Touch = Callable[..., list[Path]]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    """`touch(*names)`: empty files of these names under tmp_path."""

    def make(*names: str) -> list[Path]:
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return paths

    return make


def test_images_of_a_folder_are_taken_in_natural_order(touch: Touch, tmp_path: Path):
    wanted = touch("2.png", "10.PNG", "a.tif", "a2.jpeg", "a10.webp")
    touch("notes.txt", ".hidden.png", "._a.tif", "below/1.png", "10.png.tmp")
    assert images_in(tmp_path) == wanted
    assert find_images([str(tmp_path)], tmp_path / "out")[:2] == (wanted, {})


def test_globs_match_only_images_at_the_given_depth(touch: Touch, tmp_path: Path):
    first, second, deep = touch("a/2.png", "a/10.png", "b/c/1.png")
    touch("a/notes.txt", "a/.hidden.png")
    assert find_images([f"{tmp_path}/a/*"], tmp_path / "out")[0] == [first, second]
    assert find_images([f"{tmp_path}/**/*.png"], tmp_path / "out")[0] == [first, second, deep]


def test_a_name_that_looks_like_a_glob_is_a_file_if_it_is_there(touch: Touch, tmp_path: Path):
    [odd, _] = touch("a[1].png", "a1.png")
    assert find_images([str(odd)], tmp_path / "out")[0] == [odd]


def test_an_image_named_twice_is_taken_once(touch: Touch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    [image] = touch("a.png")
    monkeypatch.chdir(tmp_path)
    assert find_images([str(image), "a.png", ".", "./*.png"], tmp_path / "out")[0] == [image]


def test_a_named_file_is_tried_with_any_suffix(touch: Touch, tmp_path: Path):
    [image] = touch("scan.dat")
    assert find_images([str(image)], tmp_path / "out")[0] == [image]


def test_a_zarr_folder_is_one_image_wherever_it_is_named(touch: Touch, tmp_path: Path):
    image, two, three = touch("1.png", "2.ome.zarr/.zgroup", "3.zarr/zarr.json")
    touch("4.zarr/notes.txt", "1_res.zarr/zarr.json", "2_res.unfinished.zarr/zarr.json")
    volumes = [two.parent, three.parent]
    assert find_images([str(tmp_path)], tmp_path)[:2] == ([image, *volumes], {})
    assert find_images([str(path) for path in volumes], tmp_path) == (volumes, {}, [])
    assert find_images([f"{tmp_path}/*.zarr"], tmp_path) == (volumes, {}, [])
    assert list(name_results([image, *volumes]).values()) == ["1_res", "2_res", "3_res"]
    assert find_images([str(tmp_path / "4.zarr")], tmp_path)[1] == {
        str(tmp_path / "4.zarr"): "there is no image in this folder"
    }


def test_results_are_skipped_as_inputs_only_in_the_output_folder(touch: Touch, tmp_path: Path):
    image, result = touch("a.png", "a_res.png")
    assert find_images([str(tmp_path)], tmp_path)[0] == [image]
    assert find_images([str(image), str(result)], tmp_path)[0] == [image]
    assert find_images([str(tmp_path)], tmp_path / "out")[0] == [image, result]


def test_inputs_that_mean_no_image_are_told_with_the_reason(touch: Touch, tmp_path: Path):
    touch("notes.txt")
    inputs = [str(tmp_path), f"{tmp_path}/*.png", f"{tmp_path}/*.txt", f"{tmp_path}/a.png"]
    images, problems, _ = find_images(inputs, tmp_path / "out")
    reasons = ["there is no image in this folder", "no image matches", "no image matches", "no such file"]
    assert images == []
    assert problems == dict(zip(inputs, reasons, strict=True))


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["a.png", "b.c.tif"], ["a_res", "b.c_res"]),
        (["a.png", "a.tif", "b.png"], ["a_png_res", "a_tif_res", "b_res"]),
        (["x/a.png", "y/a.png", "y/b.png"], ["x_a_res", "y_a_res", "b_res"]),
        (["x/a.png", "x/a.tif", "y/a.png"], ["a_png_res", "a_tif_res", "a_res"]),
        (["1/x/a.png", "2/x/a.png", "2/y/a.png"], ["1_x_a_res", "2_x_a_res", "y_a_res"]),
        (["x/A.png", "y/a.png"], ["x_A_res", "y_a_res"]),
        (["1/x/a.png", "1/y/a.png", "1/z/x_a.png"], ["1_x_a_res", "y_a_res", "1_z_x_a_res"]),
        (["h.jpg", "h.png", "h_jpg.tif", "o.png"], ["h_jpg_res", "h_png_res", "h_jpg_tif_res", "o_res"]),
        (
            ["h.jpg", "h.png", "h_jpg.tif", "h_jpg_tif.png"],
            ["h_jpg_res", "h_png_res", "h_jpg_2_res", "h_jpg_tif_res"],
        ),
        (["a.PNG", "a.png"], ["a_PNG_res", "a_png_png_res"]),
        (["A.png", "a.png", "A.PNG"], ["A_png_res", "a_png_png_res", "A_PNG_2_res"]),
        (["x/a_b.png", "x_a/b.png", "y/b.png"], ["a_b_res", "x_a_b_res", "y_b_res"]),
    ],
)
def test_results_have_names_of_their_own(images: list[str], names: list[str]):
    paths = [Path("/data", image) for image in images]
    assert name_results(paths) == dict(zip(paths, names, strict=True))


def test_what_is_no_image_is_reported_but_not_results(touch: Touch, tmp_path: Path):
    [image, *_] = touch("a.png", "a_res.png", "b_res.json", ".hidden", "deep/c.png")
    others = touch("notes.txt", "scan2.czi", "scan10.czi")
    found = find_images([str(tmp_path), str(image)], tmp_path)
    assert found.images == [image]
    assert found.passed_over == [tmp_path / "deep", *others]
    assert find_images([f"{tmp_path}/*.png"], tmp_path).passed_over == []
