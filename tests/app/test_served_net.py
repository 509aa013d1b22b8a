import gc
import weakref
from collections.abc import Callable
from pathlib import Path

from app.capacity import QueueCapacity
from app.local_backend import LocalBackend, find_nets, read_net
from app.metrics import Metrics
from app.served_net import NetName, ServedNet
from app.settings import Settings
from app.startup import Startup
from app.weights_source import FileState
from model.segmenter import as_they_are
from model.weights_file import load_weights


def _make(settings: Settings, path: Path) -> ServedNet:
    return _backend(settings, path)[1]


def _backend(settings: Settings, path: Path) -> tuple[LocalBackend, ServedNet]:
    metrics = Metrics()
    backend = LocalBackend(settings, find_nets(settings.model_copy(update={"weights": path})).nets)
    nets = backend.start(QueueCapacity(10**9, 60, metrics.queue_pixels), metrics, Startup())
    return backend, nets.default


def test_a_net_has_the_names_that_answers_show(make_settings: Callable[..., Settings], weights_path: Path):
    net = _make(make_settings(engine="torch"), weights_path)
    assert net.label == load_weights(weights_path).label
    assert net.name == NetName("small-net.safetensors", net.label)
    assert net.former is None
    assert net.engine.name == "torch"
    net.scheduler.close()


def test_a_task_has_the_tiles_of_the_setting(make_settings: Callable[..., Settings], weights_path: Path, make_image):
    settings = make_settings(engine="torch")
    net = _make(settings, weights_path)
    image = make_image(settings.tile + 1, 10)
    assert len(net.task(image, as_they_are).tiles) == 2
    net.scheduler.close()


def test_a_net_that_replaces_another_shares_its_queue(
    make_settings: Callable[..., Settings], weights_path: Path, classes_path: Path
):
    settings = make_settings(engine="torch")
    backend, first = _backend(settings, weights_path)
    file = read_net(FileState.read(classes_path), settings).file
    second = backend.load(file, former=first.name)
    assert second.former == first.name
    assert second.scheduler.capacity is first.scheduler.capacity
    backend.retire(first)
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None
    second.scheduler.close()
    assert not second.scheduler.alive
