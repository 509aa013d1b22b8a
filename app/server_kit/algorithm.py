"""A net as an algorithm: the schema of its parameters, from which plugins make their dialogs, and its page."""

from html import escape
from typing import Any, Literal, TypeAlias, get_args

from model.weights_file import Description

KitOutput: TypeAlias = Literal["mask", "instances", "boxes", "points", "probability"]

OUTPUT_NAMES: tuple[KitOutput, ...] = get_args(KitOutput)

# Plugins need an upper limit for their number fields, and napari's fields show two decimals.
_LARGEST_MIN_AREA = 1_000_000
_DECIMALS = 2

_OUTPUT = (
    "mask: 0 and 255, or class indices; instances: an id for each object; boxes and points: the bounding box and the "
    "centroid of each object; probability: 65535 = 1.0"
)


def parameters_schema(description: Description) -> dict[str, Any]:
    """Returns the JSON schema of the parameters, in the form that the kit's own server gives."""
    several = description.architecture.classes > 1
    properties = {
        "image": _image(),
        "output": _choice(),
        **({} if several else {"threshold": _threshold(shown_threshold(description))}),
        "min_area": _number("Smallest object", "int", "integer", description.min_area, 0, _LARGEST_MIN_AREA, 1)
        | {"description": "objects with fewer pixels are dropped from every output but the probability"},
        "channel": _text("Channel", "red, green or blue of a colour image; empty for all colours"),
        **({"class_index": _class_index(description.architecture.classes - 1)} if several else {}),
    }
    return {"properties": properties, "required": ["image"], "title": "Parameters", "type": "object"}


def parameter_names(description: Description) -> list[str]:
    """Returns the names of the parameters in the order in which a client may give their values."""
    return list(parameters_schema(description)["properties"])


def shown_threshold(description: Description) -> float:
    """Returns the stored threshold as number fields show it, with two decimals."""
    return min(0.99, max(0.01, round(description.threshold, _DECIMALS)))


def info_page(description: Description) -> str:
    """Returns an HTML page about a net and the parameters of its algorithm."""
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(schema['description'])}</td>"
        f"<td>{escape(str(schema.get('default', '')))}</td></tr>"
        for name, schema in parameters_schema(description)["properties"].items()
    )
    name = escape(description.name)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><h1>{name}</h1>'
        f"{''.join(f'<p>{escape(line)}</p>' for line in _about(description))}"
        f"<table><tr><th>parameter</th><th>meaning</th><th>default</th></tr>{rows}</table>"
        '<p><a href="../">The page of the service</a>, <a href="../docs">its API</a>.</p></html>\n'
    )


def _about(description: Description) -> list[str]:
    """Returns what the weights file says of the net, a sentence each."""
    found = ", ".join(label for value, label in sorted(description.labels.items()) if value)
    lines, card = [f"A U-Net that finds: {found or 'foreground'}."], description.card
    if card:
        size = f"{card.pixel_size_um:g} micrometres" if card.pixel_size_um else ""
        known = {"": card.segments, "Images: ": card.modality, "Pixel size: ": size, "Not for: ": card.not_for}
        lines += [f"{title}{text}" for title, text in known.items() if text]
    return lines


def _parameter(title: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"title": title, "param_type": kind, "merger": "default", "position": None, **more}


def _image() -> dict[str, Any]:
    return _parameter(
        "Image",
        "image",
        description="grey or colour, one page or a stack: axes before height and width are pages",
        anyOf=[{"type": "string"}, {"type": "null"}],
        dimensionality=[2, 3, 4, 5],
        rgb=False,
        channel_axis=None,
        required=False,
    )


def _choice() -> dict[str, Any]:
    options = {"enum": list(OUTPUT_NAMES), "type": "string", "auto_call": False}
    return _parameter("Output", "choice", description=_OUTPUT, default=OUTPUT_NAMES[0], required=True, **options)


def _threshold(default: float) -> dict[str, Any]:
    number = _number("Threshold", "float", "number", default, 0.01, 0.99, 0.05)
    return number | {"description": "lowest probability of the foreground"}


def _class_index(last: int) -> dict[str, Any]:
    number = _number("Class", "int", "integer", 0, 0, last, 1)
    return number | {"description": "the class whose probability is returned"}


def _number(
    title: str, kind: str, json_type: str, default: float, low: float, high: float, step: float
) -> dict[str, Any]:
    bounds = {"min": low, "max": high, "step": step}
    accepted = [{"type": json_type, "minimum": low, "maximum": high}, {"type": "null"}]
    # "minimum" and "maximum" are for plugins before version 0.2
    known = {"minimum": low, "maximum": high, "anyOf": accepted, "auto_call": False}
    return _parameter(title, kind, default=default, required=True, **bounds, **known)


def _text(title: str, description: str) -> dict[str, Any]:
    accepted = [{"type": "string"}, {"type": "null"}]
    return _parameter(title, "str", description=description, default="", required=True, anyOf=accepted)
