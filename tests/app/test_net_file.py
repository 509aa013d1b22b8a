import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.local_backend import read_net
from app.net_file import NetFile
from app.settings import Settings
from app.weights_source import FileState
from model.inputs.preprocessing import Pixels
from model.segmenter import Segmenter
from model.weights_file import WeightsError, load_weights


@pytest.fixture
def path(weights_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(weights_path, tmp_path))


@pytest.fixture
def file(path: Path, make_settings: Callable[..., Settings]) -> NetFile:
    return read_net(FileState.read(path), make_settings(engine="torch")).file


def test_a_file_is_known_without_its_tensors(file: NetFile, path: Path):
    assert (file.path, file.weights.label) == (path, load_weights(path).label)
    assert not hasattr(file.weights, "tensors")
    assert (file.engine.name, file.engine.device, file.engine.precision) == ("torch", "cpu", "fp32")


def test_a_file_can_be_loaded_again_and_again(
    file: NetFile, make_image: Callable[..., Pixels], make_segmenter: Callable[..., Segmenter]
):
    image = make_image(100, 90)
    expected = make_segmenter(file.path).mask(image)
    for _ in range(2):
        assert file.is_reloadable
        assert np.array_equal(file.load().mask(image), expected)


def test_a_file_that_has_changed_is_not_loaded(file: NetFile, path: Path, classes_path: Path):
    shutil.copy(classes_path, path)
    assert not file.is_reloadable
    with pytest.raises(WeightsError, match="has changed since it was chosen for serving"):
        file.load()
    path.unlink()
    assert not file.is_reloadable
