"""Messages between fronts and engines, besides `TileInput`."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from app.scheduler import EngineFailed
from model.errors import UserError
from model.weights_file import Description, WeightsInfo

# What tells that weights will not do here: files, settings, and engines that cannot be made or compute no tile.
UNUSABLE = (ValueError, RuntimeError, EngineFailed)


class Reference(NamedTuple):
    """Weights as a tile names them: a file that each node has, and the sha256 that it must have."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Running:
    """An engine, for people to read: an `EngineInfo`."""

    name: str
    device: str
    precision: str


@dataclass(frozen=True)
class Served:
    """Weights that an engine has loaded, as a front needs to know them: all but the tensors."""

    reference: Reference
    description: Description
    engine: Running

    @property
    def weights(self) -> WeightsInfo:
        return WeightsInfo(self.description, self.reference.sha256)


@dataclass(frozen=True)
class Finished:
    """A tile's core, (... x) h x w as rendered, and the replica that computed it."""

    core: NDArray[Any]
    replica: str


def weights_of(user_config: object) -> str | None:
    """The weights that a deployment's user_config names, None for those of SEGMENT_WEIGHTS. Raises ValueError."""
    if not isinstance(user_config, dict) or user_config.keys() - {"weights"}:
        raise UserError(f"user_config: {user_config}: expected weights, a file or folder, or null")
    weights = user_config.get("weights")
    if not isinstance(weights, str | None):
        raise UserError(f"user_config: weights: {weights}: expected a file or folder, or null")
    return weights or None
