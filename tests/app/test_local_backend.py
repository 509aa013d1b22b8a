import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.capacity import QueueCapacity
from app.local_backend import FoundNets, LocalBackend, find_nets
from app.metrics import Metrics
from app.served_net import RefusedFile
from app.settings import Settings, SettingsError
from app.startup import Startup
from model.engines.choice import BUNDLED_NETS, int8_of
from model.inputs.preprocessing import Preprocessing
from model.unet import UNet, UNetConfig
from model.weights_file import Description, WeightsError, load_weights, save_weights
from tests.support.small_net import save_small_net


def _paths(found: FoundNets) -> list[Path]:
    return [net.file.path for net in found.nets]


def _age(path: Path, age: int) -> Path:
    os.utime(path, (1000 - age, 1000 - age))
    return path


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Callable[[Path], Settings]:
    """`settings(weights)`: the bundled nets need tiles of the default size."""

    def make(weights: Path) -> Settings:
        return make_settings(weights=weights, engine="torch", tile=Settings().tile)

    return make


@pytest.mark.parametrize(
    ("fields", "is_int8"),
    [
        ({}, True),
        ({"engine": "openvino"}, True),
        ({"precision": "int8"}, True),
        ({"engine": "torch"}, False),
        ({"precision": "fp32"}, False),
        ({"engine": "openvino", "precision": "fp32"}, False),
    ],
)
def test_no_setting_means_the_bundled_nets_that_suit_the_engine(fields: dict[str, str], is_int8: bool):
    found = find_nets(Settings.model_validate({"device": "cpu"} | fields))
    assert _paths(found) == [int8_of(path) if is_int8 else path for path in BUNDLED_NETS]
    assert not found.refused


def test_a_file_means_only_itself(make_settings: Callable[..., Settings], weights_path: Path):
    [net] = find_nets(make_settings(weights=weights_path)).nets
    assert (net.file.path, net.weights.description.name) == (weights_path, "small-net")


def test_a_folder_means_all_its_nets_newest_first_and_the_bundled_ones(
    settings: Callable[[Path], Settings], tmp_path: Path
):
    for age, name in enumerate(["c", "d", "a"]):
        _age(save_small_net(tmp_path / f"{name}.safetensors"), age)
    (tmp_path / "newest.pth").touch()
    (tmp_path / ".hidden.xml").touch()
    found = find_nets(settings(tmp_path))
    assert _paths(found) == [*(tmp_path / f"{name}.safetensors" for name in "cda"), *BUNDLED_NETS]


def test_of_files_with_nets_of_one_name_the_newest_counts(settings: Callable[[Path], Settings], tmp_path: Path):
    older = _age(save_small_net(tmp_path / "net.safetensors"), 2).rename(tmp_path / "net-1.safetensors")
    newer = _age(save_small_net(tmp_path / "net.safetensors", seed=1), 1).rename(tmp_path / "net-0.safetensors")
    assert older in list(tmp_path.iterdir())
    assert _paths(find_nets(settings(tmp_path)))[:-1] == [newer, *BUNDLED_NETS][: len(BUNDLED_NETS)]


def test_a_net_of_a_folder_replaces_the_bundled_one_of_its_name(settings: Callable[[Path], Settings], tmp_path: Path):
    own = save_small_net(tmp_path / f"{BUNDLED_NETS[0].stem}.safetensors")
    assert _paths(find_nets(settings(tmp_path))) == [own, *BUNDLED_NETS[1:]]


def test_weights_of_an_unfinished_training_are_passed_over_in_a_folder(
    settings: Callable[[Path], Settings], tmp_path: Path
):
    for age, finished in enumerate([False, True, False]):
        _age(save_small_net(tmp_path / f"net-{age}.safetensors", reached={"finished": finished}), age)
    assert _paths(find_nets(settings(tmp_path)))[0].name == "net-1.safetensors"
    (tmp_path / "net-1.safetensors").unlink()
    assert _paths(find_nets(settings(tmp_path))) == [*BUNDLED_NETS]


def test_a_broken_file_beside_the_default_is_refused(settings: Callable[[Path], Settings], tmp_path: Path):
    newest = _age(save_small_net(tmp_path / "newest.safetensors"), 0)
    (tmp_path / "broken.safetensors").write_bytes(b"?")
    _age(tmp_path / "broken.safetensors", 1)
    found = find_nets(settings(tmp_path))
    assert _paths(found) == [newest, *BUNDLED_NETS]
    reason = "weights broken.safetensors: broken or truncated, or not a safetensors file"
    assert found.refused == (RefusedFile("broken.safetensors", reason),)


def test_a_broken_newest_file_of_a_folder_stops_the_start(settings: Callable[[Path], Settings], tmp_path: Path):
    _age(save_small_net(tmp_path / "older.safetensors"), 1)
    (tmp_path / "newest.safetensors").write_bytes(b"?")
    with pytest.raises(WeightsError, match=r"newest\.safetensors: broken"):
        find_nets(settings(tmp_path))


def test_a_named_file_of_an_unfinished_training_is_read_with_a_warning(
    make_settings: Callable[..., Settings], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = save_small_net(tmp_path / "net.safetensors", reached={"finished": False})
    [net] = find_nets(make_settings(weights=path)).nets
    assert net.weights.description.is_unfinished
    assert [record.message for record in caplog.records] == ["the training of these weights has not ended"]


def test_an_empty_folder_means_the_bundled_nets(settings: Callable[[Path], Settings], tmp_path: Path):
    assert _paths(find_nets(settings(tmp_path))) == [*BUNDLED_NETS]


@pytest.mark.parametrize("name", ["missing.safetensors", "x" * 5000])
def test_a_path_that_cannot_be_read_is_a_weights_error(tmp_path: Path, name: str):
    with pytest.raises(WeightsError, match=r"^weights .*xx|missing\.safetensors"):
        find_nets(Settings(weights=tmp_path / name))


@pytest.mark.parametrize(
    ("classes", "tile", "message"),
    [
        (1, 1000, "^SEGMENT_TILE=1000: .*multiple of 16 and more than 224 pixels, not 1000"),
        (1, 224, "^SEGMENT_TILE=224: .*more than 224 pixels, not 224"),
        (3, 992, "^SEGMENT_TILE=992: .*multiple of 64 and more than 896 pixels, not 992"),
        (3, 896, "^SEGMENT_TILE=896: .*more than 896 pixels, not 896"),
    ],
)
def test_a_tile_must_fit_the_grid_and_halo_of_a_net_that_downsamples(
    make_settings: Callable[..., Settings], tmp_path: Path, classes: int, tile: int, message: str
):
    net, path = UNet(UNetConfig(width=1, classes=classes, downsampling=4)), tmp_path / "coarse.safetensors"
    labels = {index: f"class {index}" for index in range(classes)} if classes > 1 else {0: "background", 255: "cell"}
    save_weights(
        path,
        net.state_dict(),
        Description(name="coarse", architecture=net.config, preprocessing=Preprocessing(), labels=labels),
    )
    find_nets(make_settings(weights=path, tile=Settings().tile))
    with pytest.raises(SettingsError, match=message):
        find_nets(make_settings(weights=path, tile=tile))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tile": 102}, "^SEGMENT_TILE=102: .*multiple of 4"),
        ({"tile": 56}, "^SEGMENT_TILE=56: .*more than 56 pixels"),
        ({"device": "cuda:77"}, "^SEGMENT_DEVICE=cuda:77 .*available: .*cpu"),
    ],
)
def test_settings_that_do_not_suit_machine_or_weights_are_told(
    make_settings: Callable[..., Settings], fields: dict[str, object], message: str
):
    with pytest.raises(SettingsError, match=message):
        find_nets(make_settings(**fields))


@pytest.mark.parametrize(("budget", "loaded"), [(2**40, [True, True, True]), (1, [True, False, False])])
def test_nets_are_loaded_at_the_start_until_the_budget_is_full(
    make_settings: Callable[..., Settings], tmp_path: Path, budget: int, loaded: list[bool]
):
    paths = [save_small_net(tmp_path / f"{name}.safetensors") for name in "abc"]
    settings = make_settings(max_nets_bytes=budget, tile=512)
    metrics = Metrics()
    backend = LocalBackend(
        settings, [find_nets(settings.model_copy(update={"weights": path})).nets[0] for path in paths]
    )
    nets = backend.start(QueueCapacity(10**9, 60, metrics.queue_pixels), metrics, Startup())
    assert [net.scheduler.loaded for net in nets] == loaded
    assert [net.label for net in nets] == [load_weights(path).label for path in paths]
    assert [net.engine.precision for net in nets] == ["fp32"] * 3
    nets.default.scheduler.close()
