"""A weights file that the service can load: its description, its state on disk, and the engine that runs it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.canary import run_canary
from app.engine_settings import check_settings
from app.settings import Settings
from app.weights_source import FileState
from model.engines.choice import Choice, make_engine
from model.engines.graph_weights import AnyWeights, load_any
from model.segmenter import Segmenter
from model.weights_file import WeightsError, WeightsInfo


@dataclass(frozen=True, eq=False)
class NetFile:
    """A `NetSource`: a weights file, without its tensors.

    Attributes:
        state: The file, and its state when it was read.
        weights: Description and sha256.
        choice: The engine on this machine.
        settings: Those of the service.
    """

    state: FileState
    weights: WeightsInfo
    choice: Choice
    settings: Settings

    @classmethod
    def of(cls, state: FileState, weights: AnyWeights, settings: Settings) -> "NetFile":
        """Raises SettingsError: engine, device, precision or tile do not fit this machine and these weights."""
        choice = check_settings(settings, weights)
        return cls(state, WeightsInfo(weights.description, weights.sha256), choice, settings)

    @property
    def path(self) -> Path:
        return self.state.path

    @cached_property
    def engine(self) -> "PlannedEngine":
        return PlannedEngine(self.choice.engine, self.choice.device, self.choice.precision)

    @property
    def is_reloadable(self) -> bool:
        try:
            return FileState.read(self.path) == self.state
        except OSError:
            return False

    def load(self) -> Segmenter:
        """Reads the file again, builds the net, and warms it up with the canary image.

        Raises WeightsError: the file has changed, or the results are not probabilities. RuntimeError: the device fails.
        """
        weights = load_any(self.path)
        if weights.sha256 != self.weights.sha256:
            raise WeightsError(f"weights {self.path}: the file has changed since it was chosen for serving")
        return self.build(weights)

    def build(self, weights: AnyWeights) -> Segmenter:
        """Builds the net from its weights, and warms it up. Raises WeightsError, RuntimeError."""
        settings = self.settings
        engine = make_engine(weights, self.choice, settings.compute_threads)
        segmenter = Segmenter(weights, engine, tile=settings.tile, max_batch=settings.max_batch, tta=settings.tta)
        run_canary(segmenter)
        return segmenter


@dataclass(frozen=True)
class PlannedEngine:
    """The properties of an engine that is not built yet: an `EngineInfo`."""

    name: str
    device: str
    precision: str
