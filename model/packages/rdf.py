"""The description in a package (rdf.yaml), of format 0.4 or 0.5, as the parts that serving needs.

Format 0.4 is read as the same description in format 0.5. Fields that serving does not need are not looked at.
"""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import yaml  # type: ignore[import-untyped]
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from model.errors import UserError

LETTERS = {"b": "batch", "c": "channel", "i": "index", "t": "time", "y": "y", "x": "x", "z": "z"}
DESIGNED_FOR = ("0.4", "0.5")
# Aliases can make a short text a very large tree.
MOST_NODES = 20_000


class Part(BaseModel):
    """A part of a description; fields that are not read are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Range(Part):
    """Sizes from `min` up, in steps."""

    min: int = Field(ge=1)
    step: int = Field(ge=0)


class SizeReference(Part):
    """A size that follows from that of an axis of another tensor."""

    tensor_id: str
    axis_id: str = ""
    offset: float = 0
    scale: float = 1
    """Only in format 0.4, whose axes have no scales."""


class Axis(Part):
    """An axis of a tensor."""

    type: Literal["batch", "channel", "space", "index", "time"]
    id: str = ""
    size: int | Range | SizeReference | None = None
    channel_names: tuple[str, ...] = ()
    scale: float = 1

    @property
    def name(self) -> str:
        """The kind of an axis, or the id of an axis in space: y, x or z."""
        return (self.id or "x") if self.type == "space" else self.type


class Step(Part):
    """A step of preprocessing or postprocessing."""

    id: str
    arguments: dict[str, Any] = Field(default_factory=dict, validation_alias=AliasChoices("kwargs"))


class Tensor(Part):
    """An input or output."""

    id: str
    axes: tuple[Axis, ...]
    type: str = "float32"
    bounds: tuple[float | None, float | None] = (None, None)
    preprocessing: tuple[Step, ...] = ()
    postprocessing: tuple[Step, ...] = ()

    def axis(self, name: str) -> Axis | None:
        """The axis of a name."""
        return next((axis for axis in self.axes if axis.name == name), None)


class WeightsSource(Part):
    """Weights in one format."""

    source: str
    sha256: str | None = None
    external_data: "WeightsSource | None" = None


class Rdf(Part):
    """The description of a model."""

    type: Literal["model"]
    format_version: str
    name: str
    description: str = ""
    version: str | None = None
    id: str | None = None
    nickname: str | None = None
    license: JsonValue = None
    authors: JsonValue = None
    cite: JsonValue = None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: dict[str, dict[str, Any]]

    def source(self, kind: str) -> WeightsSource | None:
        """The weights of a kind, such as "onnx". Raises UserError."""
        if kind not in self.weights:
            return None
        source: WeightsSource = _validated(WeightsSource, self.weights[kind], f"weights.{kind}.")
        return source


def read_rdf(text: bytes) -> Rdf:
    """Parses a description. Raises UserError, which names the field."""
    tree = _parse(text)
    version = str(tree.get("format_version", "none"))
    if ".".join(version.split(".")[:2]) not in DESIGNED_FOR:
        raise UserError(f"format_version: {version}; accepted: {' and '.join(DESIGNED_FOR)}")
    try:
        tree = _upgraded(tree) if version.startswith("0.4") else _flattened(tree)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"inputs or outputs: not as format {version} has them ({error})") from error
    rdf: Rdf = _validated(Rdf, tree, "")
    return rdf


def _parse(text: bytes) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(text)
        nodes = sum(1 for _ in islice(_walk(tree), MOST_NODES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError("not YAML, or too deeply nested") from error
    if nodes == MOST_NODES:
        raise UserError(f"more than {MOST_NODES} fields and values")
    if not isinstance(tree, dict):
        raise UserError("not a description of a model")
    return tree


def _walk(node: object) -> Iterator[object]:
    """Yields a tree's nodes, those of an alias as often as it is used."""
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _walk(child)


def _validated(part: Any, tree: object, prefix: str) -> Any:
    try:
        return part.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{prefix}{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _flattened(tree: dict[str, Any]) -> dict[str, Any]:
    """Format 0.5, with the fields of a tensor's data beside its other fields."""
    tensors = {
        side: [tensor | _data(tensor.get("data") or {}) for tensor in tree.get(side) or []]
        for side in ("inputs", "outputs")
    }
    return tree | tensors


def _data(data: Any) -> dict[str, Any]:
    """Type and range; those of the first channel if each has its own, which must agree."""
    each = data if isinstance(data, list) else [data]
    if any(one.get("range") != each[0].get("range") for one in each):
        raise ValueError("data.range differs between channels")
    low, high = each[0].get("range") or (None, None)
    return {"type": each[0].get("type", "float32"), "bounds": (_finite(low), _finite(high))}


def _finite(bound: Any) -> float | None:
    return None if bound is None or not math.isfinite(float(bound)) else float(bound)


def _upgraded(tree: dict[str, Any]) -> dict[str, Any]:
    """Format 0.4 as format 0.5, flattened."""
    config = (tree.get("config") or {}).get("bioimageio") or {}
    inputs = [_upgraded_tensor(tensor, "preprocessing") for tensor in tree.get("inputs") or []]
    outputs = [_upgraded_tensor(tensor, "postprocessing") for tensor in tree.get("outputs") or []]
    return tree | {"inputs": inputs, "outputs": outputs, "nickname": config.get("nickname")}


def _upgraded_tensor(tensor: dict[str, Any], steps: str) -> dict[str, Any]:
    axes = [LETTERS[letter] for letter in tensor["axes"]]
    sizes = _sizes(tensor["shape"])
    data_type = tensor.get("data_type", "float32")
    low, high = tensor.get("data_range") or _RANGES.get(data_type) or (None, None)
    return {
        "id": tensor["name"],
        "axes": [_axis(*axis) for axis in zip(axes, sizes, strict=True)],
        "type": data_type,
        "bounds": (_finite(low), _finite(high)),
        steps: [_upgraded_step(step) for step in tensor.get(steps) or []],
    }


_RANGES = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}


def _axis(name: str, size: Any) -> dict[str, Any]:
    return {"type": name if name in ("batch", "channel", "index", "time") else "space", "id": name, "size": size}


def _sizes(shape: Any) -> list[Any]:
    if isinstance(shape, list):
        return shape
    if "min" in shape:
        pairs = zip(shape["min"], shape["step"], strict=True)
        return [{"min": smallest, "step": step} if step else smallest for smallest, step in pairs]
    pairs = zip(shape["scale"], shape["offset"], strict=True)
    return [{"tensor_id": shape["reference_tensor"], "scale": scale, "offset": offset} for scale, offset in pairs]


def _upgraded_step(step: dict[str, Any]) -> dict[str, Any]:
    """Axes by name; the mode of a statistic as the axes that it is of."""
    kind, kwargs = step["name"], dict(step.get("kwargs") or {})
    mode = kwargs.pop("mode", "fixed" if kind == "zero_mean_unit_variance" else None)
    letters = kwargs.pop("axes", None)
    axes = [LETTERS[letter] for letter in letters or ""]
    if kind == "zero_mean_unit_variance" and mode == "fixed":
        kind = "fixed_zero_mean_unit_variance"
    elif kind in ("zero_mean_unit_variance", "scale_range", "scale_mean_variance"):
        kwargs["axes"] = [*axes, *(["batch"] if mode == "per_dataset" else [])]
    if kind in ("fixed_zero_mean_unit_variance", "scale_linear") and "channel" not in axes:
        kwargs["axis"] = "channel"
    return {"id": kind, "kwargs": kwargs}
