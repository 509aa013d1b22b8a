"""The input and output of a packaged net: axes, sizes and channels, checked against what can be served."""

import math
from dataclasses import dataclass

from model.errors import UserError
from model.packages.rdf import Axis, Range, Rdf, SizeReference, Tensor

LETTERS = {"batch": "b", "channel": "c", "y": "y", "x": "x"}
# Names of channels that show where objects are.
FOREGROUND = ("foreground", "fg", "probability", "mask", "object", "objects", "cell", "cells", "nucleus", "nuclei")


@dataclass(frozen=True)
class InputLayout:
    """The input of a net.

    `axes`: their order as letters. `smallest` and `step`: of height and width, see `PackagedNet`.
    """

    axes: str
    names: tuple[str, ...]
    smallest: int
    step: int

    @property
    def channels(self) -> int:
        return len(self.names)


def read_input(rdf: Rdf) -> InputLayout:
    """Reads the only input of a net. Raises UserError, which names the field."""
    tensor = _only(rdf.inputs, "inputs")
    axes = _axes(tensor, "inputs")
    height, width = (_side(tensor, name) for name in "yx")
    smallest, step = max(height[0], width[0]), math.lcm(height[1], width[1])
    if height != width and (not step or smallest % step):
        raise UserError(f"inputs.{tensor.id}.axes: y and x have sizes {height} and {width}; accepted: the same sizes")
    if step and smallest % step:
        raise UserError(f"inputs.{tensor.id}.axes: min {smallest} is not a multiple of step {step}, as it must be")
    return InputLayout(axes, channel_names(tensor, _channel_count(tensor, "inputs")), smallest, step)


def read_output(rdf: Rdf, taken: InputLayout) -> tuple[str, int]:
    """Reads the only output of a net, which must be as large as its input.

    Returns the order of its axes as letters, and the number of its channels. Raises UserError, which names the field.
    """
    tensor = _only(rdf.outputs, "outputs")
    axes = _axes(tensor, "outputs")
    for name in "yx":
        axis = tensor.axis(name)
        if axis and not _is_as_large(axis, taken, rdf.inputs[0].axis(name)):
            raise UserError(f"outputs.{tensor.id}.axes.{name}: accepted: an output of the size of the input")
    return axes, _channel_count(tensor, "outputs", taken.channels)


def served_output(names: tuple[str, ...]) -> int:
    """The channel that is served, of several that are no classes. Raises UserError.

    Nets of two channels without names are taken as foreground and boundary, the convention of torch-em, which made
    most of the collection's nets of two channels.
    """
    found = [index for index, name in enumerate(names) if name.strip().lower() in FOREGROUND]
    if len(found) == 1:
        return found[0]
    if len(names) == 2 and not any(map(has_meaning, names)):
        return 0
    raise UserError(
        f"outputs: {len(names)} channels ({', '.join(names)}) that are not classes whose probabilities add up to 1; "
        f"accepted: one channel, or one whose name is {', '.join(FOREGROUND[:-1])} or {FOREGROUND[-1]}"
    )


def are_colours(names: tuple[str, ...]) -> bool:
    """True for three channels that are red, green and blue by their names, or have no names."""
    said = [name.strip().lower() for name in names]
    return said in (["red", "green", "blue"], ["r", "g", "b"]) or (len(said) == 3 and not any(map(has_meaning, names)))


def has_meaning(name: str) -> bool:
    """Returns False for names that only count, such as "channel0"."""
    return name.strip().lower().rstrip("0123456789").rstrip(" _-") not in ("", "c", "ch", "channel", "output", "input")


def _only(tensors: tuple[Tensor, ...], field: str) -> Tensor:
    if len(tensors) != 1:
        raise UserError(f"{field}: {len(tensors)} tensors ({', '.join(one.id for one in tensors)}); accepted: one")
    return tensors[0]


def _axes(tensor: Tensor, field: str) -> str:
    names = [axis.name for axis in tensor.axes]
    if sorted(names) != sorted(LETTERS):
        raise UserError(f"{field}.{tensor.id}.axes: {', '.join(names)}; accepted: {', '.join(LETTERS)}, in any order")
    return "".join(LETTERS[name] for name in names)


def _side(tensor: Tensor, name: str) -> tuple[int, int]:
    """The smallest size of an axis, and its step."""
    axis = tensor.axis(name)
    size = axis.size if axis else None
    if isinstance(size, int) and size > 0:
        return size, 0
    if isinstance(size, Range):
        return size.min, size.step
    raise UserError(f"inputs.{tensor.id}.axes.{name}.size: accepted: a number, or min and step")


def _channel_count(tensor: Tensor, field: str, taken: int = 0) -> int:
    axis = tensor.axis("channel")
    size = axis and (len(axis.channel_names) or axis.size)
    if isinstance(size, SizeReference) and size.scale:
        size = round(taken * size.scale + 2 * size.offset)
    if not isinstance(size, int) or not 0 < size <= 256:
        raise UserError(f"{field}.{tensor.id}.axes.channel: accepted: 1 to 256 channels, a fixed number")
    return size


def channel_names(tensor: Tensor, count: int) -> tuple[str, ...]:
    """Returns the described names of the channels, or "channel 0" and so on."""
    axis = tensor.axis("channel")
    return (axis and axis.channel_names) or tuple(f"channel {index}" for index in range(count))


def _is_as_large(axis: Axis, taken: InputLayout, given: Axis | None) -> bool:
    size = axis.size
    if isinstance(size, SizeReference):
        referred = given is not None and size.axis_id in ("", given.id or "x")
        return referred and size.offset == 0 and size.scale == 1 and given is not None and axis.scale == given.scale
    return size == taken.smallest and not taken.step
