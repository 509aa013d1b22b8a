"""Label files of formats that images do not have, and damaged ones."""

from io import BytesIO

import cv2
import numpy as np
import pytest
import scipy.io
from PIL import Image

from model.images.image_errors import ImageError
from training.data.labels.label_files import read_label_file
from training.data.labels.stored_label import LabelError, whole_numbers

IDS = np.zeros((6, 8), np.int32)
IDS[:2, :3], IDS[3:, 4:] = 70000, 5


def _one(path):
    (page,) = read_label_file(path)
    return page.values


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.float32, np.float64])
def test_tiff_ids_of_deep_types_are_read(tmp_path, dtype):
    grid = (IDS % 30000).astype(dtype)
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), [grid, grid[::-1].copy()])
    first, second = read_label_file(tmp_path / "a.tif")
    assert (first.values == grid).all()
    assert (second.values == grid[::-1]).all()


def test_gif_is_read_as_grey_or_as_indices(tmp_path):
    mask = (IDS > 0).astype(np.uint8)
    Image.fromarray(mask * np.uint8(255)).save(tmp_path / "grey.gif")
    assert set(np.unique(_one(tmp_path / "grey.gif"))) == {0, 255}
    picture = Image.frombytes("P", (8, 6), mask.tobytes())
    picture.putpalette([0, 0, 0, 200, 0, 0])
    picture.save(tmp_path / "red.gif")
    assert (_one(tmp_path / "red.gif") == mask).all()


@pytest.mark.parametrize("grid", [IDS, IDS > 0, IDS.astype(np.float64), IDS[None, :, :, None], IDS.astype(np.uint64)])
def test_numpy_arrays_are_read(tmp_path, grid):
    np.save(tmp_path / "a.npy", grid)
    assert (_one(tmp_path / "a.npy") == np.squeeze(grid)).all()


def test_matlab_structs_are_searched(tmp_path):
    segmentation = np.where(IDS > 0, 2, 1).astype(np.uint16)
    truth = {"Segmentation": segmentation, "Boundaries": IDS > 5}
    scipy.io.savemat(tmp_path / "crack.mat", {"groundTruth": truth})
    assert (_one(tmp_path / "crack.mat") == segmentation).all()
    cell = np.empty((1, 2), object)
    cell[0, 0] = {"Segmentation": segmentation}
    cell[0, 1] = {"Segmentation": segmentation * 0}
    scipy.io.savemat(tmp_path / "cell.mat", {"groundTruth": cell})
    assert (_one(tmp_path / "cell.mat") == segmentation).all()
    scipy.io.savemat(tmp_path / "maps.mat", {"type_map": IDS > 0, "inst_map": IDS.astype(float), "centres": [[1, 2]]})
    assert (_one(tmp_path / "maps.mat") == IDS).all()


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"one": IDS, "other": IDS}, "several arrays of one size, one, other"),
        ({"name": "text"}, "no array of height x width"),
    ],
)
def test_matlab_files_without_one_label_are_refused(tmp_path, contents, said):
    scipy.io.savemat(tmp_path / "a.mat", contents)
    with pytest.raises(LabelError, match=said):
        read_label_file(tmp_path / "a.mat")


def _bytes_of(kind: str) -> bytes:
    data = BytesIO()
    if kind == "npy":
        np.save(data, IDS)
    elif kind == "mat":
        scipy.io.savemat(data, {"label": IDS})
    elif kind == "tif":
        return cv2.imencode(".tif", IDS)[1].tobytes()
    else:
        Image.fromarray(IDS.astype(np.uint8)).save(data, kind)
    return data.getvalue()


@pytest.mark.parametrize("kind", ["npy", "mat", "gif", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_truncated_files_are_one_clear_error(tmp_path, kind, share):
    data = _bytes_of(kind)
    (tmp_path / f"a.{kind}").write_bytes(data[: int(share * len(data))])
    with pytest.raises((ImageError, LabelError), match=r"(?i)damaged|truncated|empty|no array|not an image"):
        read_label_file(tmp_path / f"a.{kind}")


def test_python_objects_in_a_numpy_file_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, {}], object), allow_pickle=True)
    with pytest.raises(ImageError, match="holds Python objects"):
        read_label_file(tmp_path / "a.npy")


def test_matlab_7_3_is_refused_with_a_way_out(tmp_path):
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "a.mat").write_bytes(header + b"\x89HDF\r\n\x1a\n" + bytes(512))
    with pytest.raises(ImageError, match=r"version 7\.3 .*save the label again with -v7, or as PNG"):
        read_label_file(tmp_path / "a.mat")


def test_numbers_become_the_smallest_integers():
    assert whole_numbers(np.array([[0.0, 1.0]])).dtype == np.uint8
    assert whole_numbers(np.array([[0, 300]])).dtype == np.uint16
    assert whole_numbers(np.array([[-1, 1]])).dtype == np.int32
    assert whole_numbers(np.array([[0, 2**40, 2**50]])).tolist() == [[0, 1, 2]]
    assert whole_numbers(np.array([[0, 0.5, 1]])).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([[0, np.nan]]), "not numbers"),
        (np.array([[0, 1.5]]), r"fractions from 0 to 1\.5"),
        (np.array([[0, 1j]]), "values of type complex"),
    ],
)
def test_other_numbers_are_refused(array, said):
    with pytest.raises(LabelError, match=said):
        whole_numbers(array)
