import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.local_backend import LocalBackend, find_weights, read_weights
from app.settings import Settings, SettingsError
from model.preprocessing import Preprocessing
from model.unet import UNet, UNetConfig
from model.weights_file import BUNDLED, BUNDLED_INT8, Description, WeightsError, load_weights, save_weights
from tests.support.small_net import save_small_net


@pytest.mark.parametrize(
    ("fields", "bundled"),
    [
        ({}, BUNDLED_INT8),
        ({"engine": "openvino"}, BUNDLED_INT8),
        ({"precision": "int8"}, BUNDLED_INT8),
        ({"engine": "torch"}, BUNDLED),
        ({"precision": "fp32"}, BUNDLED),
        ({"engine": "openvino", "precision": "fp32"}, BUNDLED),
    ],
)
def test_no_setting_means_the_bundled_weights_that_suit_the_engine(fields: dict[str, str], bundled: Path):
    assert find_weights(Settings.model_validate({"device": "cpu"} | fields)) == bundled


def test_a_file_means_itself(weights_path: Path):
    assert find_weights(Settings(weights=weights_path)) == weights_path
    assert read_weights(weights_path).description.name == "small-net"


def test_a_folder_means_its_newest_weights(tmp_path: Path):
    for age, name in enumerate(["c.safetensors", "d.xml", "a.safetensors", "newest.pth", ".hidden.xml"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    assert find_weights(Settings(weights=tmp_path)) == tmp_path / "a.safetensors"
    (tmp_path / "a.safetensors").unlink()
    assert find_weights(Settings(weights=tmp_path)) == tmp_path / "d.xml"
    (tmp_path / "package.zip").touch()
    assert find_weights(Settings(weights=tmp_path)) == tmp_path / "package.zip"


def test_weights_of_an_unfinished_training_are_passed_over_in_a_folder(tmp_path: Path):
    for age, finished in enumerate([False, True, False]):
        path = save_small_net(tmp_path / f"net-{age}.safetensors", reached={"finished": finished})
        os.utime(path, (1000 + age, 1000 + age))
    assert find_weights(Settings(weights=tmp_path)).name == "net-1.safetensors"
    (tmp_path / "net-1.safetensors").unlink()
    assert find_weights(Settings(weights=tmp_path, engine="torch")) == BUNDLED


def test_a_named_file_of_an_unfinished_training_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = save_small_net(tmp_path / "net.safetensors", reached={"finished": False})
    assert read_weights(find_weights(Settings(weights=path))).description.is_unfinished
    assert [record.message for record in caplog.records] == ["the training of these weights has not ended"]


def test_an_empty_folder_means_the_bundled_weights(tmp_path: Path):
    assert find_weights(Settings(weights=tmp_path, engine="torch")) == BUNDLED


@pytest.mark.parametrize("name", ["missing.safetensors", "x" * 5000])
def test_a_path_that_cannot_be_read_is_a_weights_error(tmp_path: Path, name: str):
    with pytest.raises(WeightsError, match=r"^weights .*xx|missing\.safetensors"):
        read_weights(find_weights(Settings(weights=tmp_path / name)))


@pytest.mark.parametrize(
    ("tile", "message"),
    [(992, "^SEGMENT_TILE=992: .*multiple of 64 and more than 896 pixels"), (896, "^SEGMENT_TILE=896: .*more than")],
)
def test_a_tile_must_fit_the_grid_and_halo_of_a_net_that_downsamples(
    make_settings: Callable[..., Settings], tmp_path: Path, tile: int, message: str
):
    net = UNet(UNetConfig(width=1, depth=4, downsampling=4))
    description = Description(name="coarse", architecture=net.config, preprocessing=Preprocessing())
    save_weights(tmp_path / "coarse.safetensors", net.state_dict(), description)
    weights = load_weights(tmp_path / "coarse.safetensors")
    LocalBackend(make_settings(tile=Settings().tile), weights, "coarse.safetensors")
    with pytest.raises(SettingsError, match=message):
        LocalBackend(make_settings(tile=tile), weights, "coarse.safetensors")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tile": 102}, "^SEGMENT_TILE=102: .*multiple of 4"),
        ({"tile": 56}, "^SEGMENT_TILE=56: .*more than 56 pixels"),
        ({"device": "cuda:77"}, "^SEGMENT_DEVICE=cuda:77 .*available: .*cpu"),
    ],
)
def test_settings_that_do_not_suit_machine_or_weights_are_told(
    make_settings: Callable[..., Settings], weights_path: Path, fields: dict[str, object], message: str
):
    with pytest.raises(SettingsError, match=message):
        LocalBackend(make_settings(**fields), load_weights(weights_path), weights_path.name)
