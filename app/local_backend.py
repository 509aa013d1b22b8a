"""The backend of one machine: the nets that the settings choose, one queue of tiles, and one memory budget."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from app.capacity import QueueCapacity
from app.engine_settings import engine_problems, set_threads
from app.loaded_nets import LoadedNets
from app.local_scheduler import LocalScheduler
from app.metrics import Metrics
from app.net_file import NetFile
from app.served_net import NetName, RefusedFile, ServedNet
from app.served_nets import ServedNets
from app.settings import Settings
from app.startup import Startup
from app.tile_queue import TileQueue
from app.weights_source import FileState, list_states
from model.engines.choice import bundled_nets
from model.engines.graph_weights import AnyWeights, load_any
from model.errors import UserError
from model.weights_file import WeightsError

log = logging.getLogger(__name__)


class ReadNet(NamedTuple):
    """A weights file that has been read, and its weights."""

    file: NetFile
    weights: AnyWeights


@dataclass(frozen=True)
class FoundNets:
    """The nets that the settings choose, the default first, and the files that cannot be served."""

    nets: Sequence[ReadNet]
    refused: tuple[RefusedFile, ...] = ()


class LocalBackend:
    """The nets of this process. They share the queue, its threads, and the memory budget."""

    def __init__(self, settings: Settings, nets: Sequence[ReadNet]) -> None:
        """`nets`: those that `start` serves, the default first."""
        self._settings = settings
        self._nets: list[ReadNet] = list(nets)

    def start(self, capacity: QueueCapacity, metrics: Metrics, startup: Startup) -> ServedNets:
        """Loads and warms the nets in turn until the memory budget is full; the others are loaded on first use.

        Raises WeightsError if the results of a net are not probabilities, RuntimeError if the device fails.
        """
        self.open(capacity, metrics)
        served = ServedNets(self._start_each())
        startup.done("load")
        return served

    def open(self, capacity: QueueCapacity, metrics: Metrics) -> None:
        """Makes the empty queue and cache, for `load`."""
        set_threads(self._settings.compute_threads)
        self._loaded = LoadedNets(self._settings.max_nets_bytes, metrics)
        self._queue = TileQueue(capacity, metrics, after_large=self._loaded.shrink)

    @property
    def is_full(self) -> bool:
        """Returns True if the loaded nets take the whole memory budget."""
        return self._loaded.is_full

    @property
    def alive(self) -> bool:
        """Returns True if the threads of the queue are alive."""
        return self._queue.alive

    def _start_each(self) -> Iterator[ServedNet]:
        while self._nets:
            file, weights = self._nets.pop(0)  # the list would keep the weights
            yield self._serve(file) if self.is_full else self.load(file, weights)

    def load(self, file: NetFile, weights: AnyWeights | None = None, former: NetName | None = None) -> ServedNet:
        """Returns the net of a file, warm. Other nets compute requests meanwhile.

        Args:
            file: The weights file.
            weights: Its weights; None to read them.
            former: The net that this one replaces.

        Raises:
            UserError: The file has changed, or the results are not probabilities.
            RuntimeError: The device fails.
        """
        segmenter = file.load() if weights is None else file.build(weights)
        self._loaded.add(file, segmenter)
        self._queue.add_threads(segmenter.engine.streams)
        return self._serve(file, former)

    def rename(self, net: ServedNet, file: NetFile) -> ServedNet:
        """Returns the same net for another file with the same weights; the net is not loaded again."""
        self._scheduler_of(net).follow(file)
        return replace(net, file=file.path.name)

    def retire(self, net: ServedNet) -> None:
        """Drops a net that is no longer served; requests in progress still use it."""
        self._scheduler_of(net).retire()

    def file_of(self, net: ServedNet) -> NetFile:
        """Returns the weights file of a net of this backend."""
        source = self._scheduler_of(net).source
        assert isinstance(source, NetFile)  # noqa: S101
        return source

    @staticmethod
    def _scheduler_of(net: ServedNet) -> LocalScheduler:
        assert isinstance(net.scheduler, LocalScheduler)  # noqa: S101
        return net.scheduler

    def _serve(self, file: NetFile, former: NetName | None = None) -> ServedNet:
        scheduler = LocalScheduler(file, self._loaded, self._queue)
        return ServedNet(file.weights, scheduler, file.path.name, self._settings.tile, former)


def find_nets(settings: Settings) -> FoundNets:
    """Reads the nets of the setting: one file, all nets of a folder and the bundled ones, or the bundled ones.

    Of several files with nets of one name, the newest counts. The newest file of a folder is the default. In a folder,
    weights of a training that has not ended are passed over. Broken files beside the default are refused. Bundled nets
    that do not suit the settings are left out.

    Raises:
        SettingsError: A setting does not fit this machine or the default net.
        WeightsError: The file of the default net is missing, broken or of the wrong kind.
    """
    if settings.weights is not None and not _is_folder(settings.weights):
        return FoundNets([_read_named(settings.weights, settings)])
    bundled = bundled_states(settings)
    nets: dict[str, ReadNet] = {}
    refused: list[RefusedFile] = []
    for state in [*_list_folder(settings), *bundled]:
        try:
            net = read_net(state, settings)
        except UserError as error:
            if not nets:
                raise
            _log_refused(state, error, is_bundled=state in bundled)
            refused += [] if state in bundled else [refuse(state, error)]
        else:
            if not net.weights.description.is_unfinished:
                nets.setdefault(net.weights.description.name, net)
    for net in nets.values():
        _log_weights(net)
    return FoundNets(list(nets.values()), tuple(refused))


def read_net(state: FileState, settings: Settings) -> ReadNet:
    """Reads a weights file. Raises WeightsError, SettingsError."""
    weights = load_any(state.path)
    return ReadNet(NetFile.of(state, weights, settings), weights)


def refuse(state: FileState, error: UserError) -> RefusedFile:
    """Returns the file with the reason, without the folder."""
    return RefusedFile(state.path.name, str(error).replace(f"{state.path.parent}{os.sep}", ""))


def bundled_states(settings: Settings) -> list[FileState]:
    """Returns the files of the bundled nets that suit the engine, the default first. Raises SettingsError."""
    with engine_problems(settings):
        paths = bundled_nets(settings.engine, settings.device, settings.precision)
    return [FileState.read(path) for path in paths]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise WeightsError(f"weights {path}: cannot be read ({error.strerror})") from error


def _list_folder(settings: Settings) -> list[FileState]:
    if settings.weights is None:
        return []
    try:
        return list_states(settings.weights)
    except OSError as error:
        raise WeightsError(f"weights {settings.weights}: cannot be read ({error.strerror})") from error


def _read_named(path: Path, settings: Settings) -> ReadNet:
    """Reads the one file that the setting names. Raises WeightsError, SettingsError."""
    net = read_net(FileState.read(path), settings)
    _log_weights(net)
    if net.weights.description.is_unfinished:
        log.warning("the training of these weights has not ended", extra={"fields": {"file": path}})
    return net


def _log_refused(state: FileState, error: UserError, *, is_bundled: bool) -> None:
    level = logging.INFO if is_bundled else logging.WARNING  # a bundled net that does not suit a setting is in order
    log.log(level, "weights refused", extra={"fields": {"file": state.path, "problem": str(error)}})


def _log_weights(net: ReadNet) -> None:
    file = net.file
    log.info(
        "weights", extra={"fields": {"file": file.path, "model": file.weights.label, "sha256": file.weights.sha256}}
    )
