"""The layers of a request: an image as the base64 of a file, and the values of parameters."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.json_parts import check_json_parts
from app.parameters import read_as
from app.problems import Problem
from app.server_kit.algorithm import KitOutput, shown_threshold
from model.outputs.output import Output, OutputSpec
from model.weights_file import Description

QUPATH = "Java/QuPath"
"""The User-Agent of QuPath's extension, which takes masks as polygons."""

# The render of the tiles for each output; boxes and points are made of the objects' ids.
_RENDERED: dict[KitOutput, Output] = {
    "mask": "mask",
    "instances": "instances",
    "boxes": "instances",
    "points": "instances",
    "probability": "probability",
}


class Layer(BaseModel):
    """A layer as clients send it. Its other fields are for the client itself."""

    kind: str
    name: str
    data: Any = None


class KitParameters(BaseModel):
    """The parameters of an algorithm besides its image. None: as the weights say."""

    model_config = ConfigDict(frozen=True)

    output: KitOutput = "mask"
    threshold: float | None = Field(None, gt=0, lt=1)
    min_area: int | None = Field(None, ge=0)
    channel: str = Field("", max_length=100)
    class_index: int = Field(0, ge=0)


@dataclass(frozen=True)
class KitRequest:
    """An image file and the output that is made of it.

    Attributes:
        image: Bytes of the file.
        parameters: As they were sent.
        output_spec: The output as the rest of the service knows it.
        polygons: True if masks are returned as polygons.
    """

    image: bytes
    parameters: KitParameters
    output_spec: OutputSpec
    polygons: bool

    @property
    def wants_array(self) -> bool:
        """True if the result is one array of all pages."""
        output = self.parameters.output
        return output == "probability" or (output in ("mask", "instances") and not self.polygons)


_LAYERS = TypeAdapter(list[Layer])


def read_layers(body: bytes, description: Description, headers: Mapping[str, str]) -> KitRequest:
    """Reads a request.

    Args:
        body: JSON, a list of layers.
        description: The net that the request is for.
        headers: The User-Agent decides about the form of masks.

    Raises:
        Problem: 400 no such JSON, or no base64; 422 not one image, or a bad parameter.
    """
    check_json_parts(body, "send one image, and a value for each parameter.")
    try:
        layers = [layer for layer in _LAYERS.validate_json(body) if layer.data is not None]
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise Problem(HTTPStatus.BAD_REQUEST, f"The body is a list of layers. {where}: {first['msg']}.") from error
    values = [(layer.name, layer.data) for layer in layers if layer.kind != "image"]
    parameters = read_as(KitParameters, values)
    polygons = headers.get("user-agent", "") == QUPATH
    return KitRequest(_image(layers), parameters, _output_spec(parameters, description, polygons), polygons)


def _image(layers: list[Layer]) -> bytes:
    """Returns the bytes of the one image. Raises Problem, 400 or 422."""
    images = [layer.data for layer in layers if layer.kind == "image"]
    if len(images) != 1:
        detail = f"The request has {len(images)} images: send one layer of kind image."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    try:
        if isinstance(images[0], str):
            return base64.b64decode(images[0], validate=True)
    except (binascii.Error, ValueError) as error:
        raise _no_base64() from error
    raise _no_base64()


def _no_base64() -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "The data of the image are the base64 of an image file.")


def _output_spec(parameters: KitParameters, description: Description, polygons: bool) -> OutputSpec:
    """Returns the output. Dialogs always send a number, so the number that they show first stands for none."""
    last = description.architecture.classes - 1
    if parameters.class_index > last:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"Parameter class_index: the net's classes are 0 to {last}.")
    as_shown = parameters.threshold == shown_threshold(description)
    rendered = _RENDERED[parameters.output]
    return OutputSpec(
        output="instances" if polygons and rendered == "mask" else rendered,
        threshold=None if as_shown else parameters.threshold,
        class_index=parameters.class_index,
        min_area=None if parameters.min_area == description.min_area else parameters.min_area,
    )
