"""The weights file: one `.safetensors` that describes itself.

The tensors are the net's state dict. The header's metadata holds the `Description` as JSON, so no user has to know the
width, scaling or threshold of a file. This module unpickles nothing.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from model.atomic_write import write_whole
from model.errors import WeightsError as WeightsError
from model.inputs.card import Card, Example
from model.inputs.known_images import KnownImages
from model.inputs.preprocessing import Preprocessing
from model.outputs.objects import ObjectRule, Objects
from model.packages.package_zip import PackageZip
from model.packages.packaged_net import PackagedNet
from model.unet import UNet, UNetConfig

METADATA_KEY = "description"
SUFFIXES = (".safetensors", ".xml", ".zip")
BUNDLED = Path(__file__).parent / "weights" / "em-membranes.safetensors"
BUNDLED_INT8 = BUNDLED.with_name("em-membranes-int8.xml")


class Description(BaseModel):
    """The metadata of a weights file.

    Attributes:
        threshold: Probability from which a pixel is foreground (nets of one class).
        objects: How a mask becomes objects, see `ObjectRule`. "interiors" suits nets whose background is borders.
        seed_depth: Pixels by which a region must narrow to be split, see `ObjectRule`; required by "seeds" only.
        min_area: Objects with fewer pixels are dropped.
        labels: The meaning of the mask's values.
        card: What the net is for; None if the file does not say it.
        example: An image and its mask to show.
        known_images: By which an image that looks unlike the training images is noticed.
        provenance: Data, recipe, command, commit and scores, for people to read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    architecture: UNetConfig | PackagedNet
    preprocessing: Preprocessing
    threshold: float = Field(0.5, gt=0, lt=1)
    objects: Objects = "regions"
    seed_depth: float | None = Field(None, gt=0, le=1000)
    min_area: int = Field(0, ge=0)
    labels: dict[int, str] = Field(default_factory=lambda: {0: "background", 255: "foreground"})
    card: Card | None = None
    example: Example | None = None
    known_images: KnownImages | None = None
    provenance: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _channels_agree(self) -> "Description":
        taken = self.architecture.in_channels
        given = {"grey": 1, "rgb": 3, "stored": taken}[self.preprocessing.channels]
        if given != taken:
            raise ValueError(f"preprocessing gives {given} channels, the net takes {taken}")
        return self

    @model_validator(mode="after")
    def _seeds_have_a_depth(self) -> "Description":
        if self.objects != "seeds":
            if self.seed_depth is not None:
                raise ValueError(f'objects "{self.objects}" takes no seed_depth; only objects "seeds" does')
        elif self.seed_depth is None:
            raise ValueError('objects "seeds" needs a seed_depth above 0, in pixels')
        return self

    @model_validator(mode="after")
    def _objects_suit_the_classes(self) -> "Description":
        if self.objects != "regions" and self.architecture.classes > 1:
            raise ValueError(f'objects "{self.objects}" is for one class; the net has {self.architecture.classes}')
        return self

    @property
    def unet(self) -> UNetConfig:
        """The architecture of a net that this project builds. Raises WeightsError for the net of a package."""
        if isinstance(self.architecture, PackagedNet):
            raise WeightsError(f"{self.name}: the net of a package can be run, but not trained or exported")
        return self.architecture

    @property
    def object_rule(self) -> ObjectRule:
        """The rule by which the mask becomes objects."""
        return ObjectRule(self.objects, self.seed_depth, self.min_area)

    @property
    def channels_together(self) -> int:
        """The number of channels of a file that the net takes together; 1 for nets of grey or colour images."""
        return self.architecture.in_channels if self.preprocessing.channels == "stored" else 1

    @property
    def is_unfinished(self) -> bool:
        """Returns True for weights of a training that has not ended. A running service does not pick them up."""
        reached = self.provenance.get("reached")
        return isinstance(reached, dict) and reached.get("finished") is False

    def to_metadata(self) -> dict[str, str]:
        """Returns one entry: safetensors writes several in random order, and equal weights must be equal files."""
        return {METADATA_KEY: json.dumps(self.model_dump(mode="json"), allow_nan=False)}


@dataclass(frozen=True)
class WeightsInfo:
    """Identity of a weights file: its description, and the sha256 of its bytes in hex."""

    description: Description
    sha256: str

    @property
    def label(self) -> str:
        """name@first 12 of sha256: the name of the weights in logs, headers and answers."""
        return f"{self.description.name}@{self.sha256[:12]}"


@dataclass(frozen=True)
class Weights(WeightsInfo):
    """A weights file with its tensors, by their names in `UNet.state_dict()`."""

    tensors: dict[str, Tensor]

    def build_net(self) -> UNet:
        """The net with these weights, float32, in evaluation mode."""
        net = UNet(self.description.unet)
        net.load_state_dict(self.tensors, strict=True)
        return net.eval()


def save_weights(path: Path, tensors: dict[str, Tensor], description: Description) -> None:
    """Writes the file whole or not at all. Raises OSError if it cannot be written."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # not safetensors' own save_file: its files are readable only by the owner, and a full disk does not raise OSError
    write_whole(path, save(plain, description.to_metadata()))


def load_weights(path: Path = BUNDLED) -> Weights:
    """Reads and checks a weights file: description, names, shapes and finite values.

    A .zip is a BioImage.IO package with a weights file in it. Raises WeightsError.
    """
    if path.suffix == ".xml":
        raise WeightsError(f"weights {path}: a graph cannot be trained or exported; give its .safetensors")
    data = read_bytes(path)
    try:
        tensors = load(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"weights {path}: {_what_else(data)}") from error
    if METADATA_KEY not in metadata:
        raise WeightsError(f"weights {path}: a file without a description; bring it in with python -m model.convert")
    description = read_description(path, metadata[METADATA_KEY])
    check_tensors(str(path), tensors, description.unet)
    return Weights(description, hashlib.sha256(data).hexdigest(), tensors)


def is_described(path: Path) -> bool:
    """Returns True if a file holds weights with a description, whatever its name is."""
    with suppress(SafetensorError, OSError), safe_open(path, "pt") as file:
        return METADATA_KEY in (file.metadata() or {})
    return False


def read_is_unfinished(path: Path) -> bool:
    """Returns True if the header of a `.safetensors` file says that its training has not ended; else False."""
    with suppress(SafetensorError, OSError, KeyError, ValidationError), safe_open(path, "pt") as file:
        return Description.model_validate_json((file.metadata() or {})[METADATA_KEY]).is_unfinished
    return False


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; of a package (.zip), those of the weights file in it. Raises WeightsError."""
    try:
        return _read_packaged(path) if path.suffix == ".zip" else path.read_bytes()
    except FileNotFoundError as error:
        raise WeightsError(f"weights {path}: no such file") from error
    except OSError as error:
        raise WeightsError(f"weights {path}: cannot be read ({error.strerror})") from error


def _read_packaged(path: Path) -> bytes:
    """One member, into memory: nothing is unpacked to disk, and nothing else in the package is looked at."""
    with PackageZip.open(path) as package:
        return package.own_weights()


def read_description(path: Path, text: str) -> Description:
    """Parses the description in a weights file. Raises WeightsError, which names the file."""
    try:
        return Description.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        # pydantic also names the type that a value should have of several
        field = ".".join(str(part) for part in first["loc"] if "UNetConfig" not in str(part)) or METADATA_KEY
        raise WeightsError(f"weights {path}: {field}: {first['msg']}") from error


def _what_else(data: bytes) -> str:
    """Describes bytes that safetensors cannot read."""
    if data.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x05")):
        return "a pickle (torch.save), not a safetensors file; bring it in with python -m model.convert"
    return "broken or truncated, or not a safetensors file"


def check_tensors(source: str, tensors: dict[str, Tensor], config: UNetConfig) -> None:
    """Names, shapes and finite values, against a configuration's net. Raises WeightsError, which names `source`."""
    with torch.device("meta"):
        expected = {name: _form(tensor) for name, tensor in UNet(config).state_dict().items()}
    found = {name: _form(tensor) for name, tensor in tensors.items()}
    if found != expected:
        odd = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise WeightsError(
            f"weights {source}: tensors do not fit the described net, {len(odd)} of them, first {odd[0]}"
        )
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor.float()).all()]
    if broken:
        raise WeightsError(f"weights {source}: {broken[0]} holds values that are not finite")


def _form(tensor: Tensor) -> tuple[torch.Size, bool]:
    """Returns the properties of a tensor that must match: its shape, and whether it holds fractions."""
    return tensor.shape, tensor.is_floating_point()
