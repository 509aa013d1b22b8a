"""The axes of a volume and the distances between pixels, as OME-NGFF stores them.

Version 0.5 stores them in a group's attributes under "ome", earlier versions in the attributes themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.images.image_errors import UnsupportedImage

ORDER = "tczyx"
_TYPES = {"t": "time", "c": "channel"}


@dataclass(frozen=True)
class Space:
    """`names`: of the axes, in the array's order, out of "tczyx". All else has an entry for each axis.

    `details`: "type" and "unit" of OME-NGFF. `scale`, `translation`: of pixels, in units; translation may be empty.
    """

    names: tuple[str, ...]
    details: tuple[Mapping[str, str], ...]
    scale: tuple[float, ...]
    translation: tuple[float, ...] = field(default=())

    @classmethod
    def plain(cls, names: Sequence[str]) -> "Space":
        """Returns the space of axes without units or scales."""
        details = tuple({"type": _TYPES.get(name, "space")} for name in names)
        return cls(tuple(names), details, (1.0,) * len(names))

    def without_channels(self) -> "Space":
        """Returns the space of a mask of the volume."""
        kept = [axis for axis, name in enumerate(self.names) if name != "c"]
        return Space(
            tuple(self.names[axis] for axis in kept),
            tuple(self.details[axis] for axis in kept),
            tuple(self.scale[axis] for axis in kept),
            tuple(self.translation[axis] for axis in kept if self.translation),
        )

    def to_ome(self, name: str) -> dict[str, Any]:
        """Attributes of a group (OME-NGFF 0.5) whose one array is called "0"."""
        axes = [{"name": axis, **details} for axis, details in zip(self.names, self.details, strict=True)]
        transformations: list[dict[str, Any]] = [{"type": "scale", "scale": list(self.scale)}]
        if self.translation:
            transformations.append({"type": "translation", "translation": list(self.translation)})
        datasets = [{"path": "0", "coordinateTransformations": transformations}]
        return {"ome": {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}}


def read_ome(attributes: Mapping[str, Any], dimensions: int) -> tuple[str, Space]:
    """The path of a group's largest array, and its space. Raises UnsupportedImage, KeyError, TypeError, IndexError."""
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        raise UnsupportedImage("The group holds no image of its own (it has no multiscales): name one.")
    image = multiscales[0]
    first = image["datasets"][0]
    axes = image.get("axes") or ORDER[-dimensions:]  # all five of them before there were axes, in 0.1 and 0.2
    axes = [{"name": axis} if isinstance(axis, str) else axis for axis in axes]
    plain = Space.plain([axis["name"] for axis in axes])
    details = tuple(
        {**default, **{key: axis[key] for key in ("type", "unit") if key in axis}}
        for default, axis in zip(plain.details, axes, strict=True)
    )
    scale, translation = list(plain.scale), [0.0] * len(axes)
    # those of the array, then those of all arrays
    for step in [*first.get("coordinateTransformations", []), *image.get("coordinateTransformations", [])]:
        factors, shifts = step.get("scale", [1.0] * len(axes)), step.get("translation", [0.0] * len(axes))
        scale = [value * factor for value, factor in zip(scale, factors, strict=True)]
        translation = [value * f + shift for value, f, shift in zip(translation, factors, shifts, strict=True)]
    moved = tuple(translation) if any(translation) else ()
    return first["path"], Space(plain.names, details, tuple(scale), moved)
