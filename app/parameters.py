"""The parameters of `POST /segment`, which come in the query or as fields of the form."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.problems import Problem, bad_parameter_problem, shown
from model.outputs.output import Output

_OUTPUT = (
    "mask (the default): 0 and 255, or class indices; probability: 16 bits, 65535 = 1.0; instances: ids in 16 bits; "
    "overlay: RGB; geojson: polygons; coco: run lengths; table: CSV, measurements of each object; rois: ZIP for ImageJ"
)


Parameters = TypeVar("Parameters", bound=BaseModel)


class SegmentParameters(BaseModel):
    """Each field is a parameter; the name of a parameter is the field's alias, if there is one."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(
        "", max_length=64, description="name of the net, see GET /models; default: the net that GET /model describes"
    )
    output: Output | None = Field(None, description=_OUTPUT)
    threshold: float | None = Field(None, gt=0, lt=1, description="default: the one stored with the weights")
    channel: str = Field(
        "",
        max_length=100,
        description="number or name of the channel of an image that has several, or red, green or blue of a colour "
        "image; default: channel 0, or the colours",
    )
    min_area: int | None = Field(
        None,
        ge=0,
        description="objects with fewer pixels are dropped from every output but the probability; default: the number "
        "stored with the weights, which mask ignores",
    )
    class_index: int = Field(
        0,
        alias="class",
        ge=0,
        description="class whose probability is returned; only a net of several classes has more than class 0",
    )


def read_parameters(given: Iterable[tuple[str, str]]) -> SegmentParameters:
    """Checks the parameters of `POST /segment`, see `read_as`. Raises Problem, 422."""
    return read_as(SegmentParameters, given)


def read_as(kind: type[Parameters], given: Iterable[tuple[str, str]]) -> Parameters:
    """Checks the names and values of a call's parameters.

    The same value twice is accepted: generated clients send defaults in the query and in the form.

    Args:
        kind: The call's parameters: a parameter for each field, named by the field's alias if there is one.
        given: Names and values of the query and of the form's fields.

    Raises:
        Problem: 422: unknown, two values, or a bad value.
    """
    names = tuple(field.alias or name for name, field in kind.model_fields.items())
    values = dict[str, str]()
    for name, value in given:
        if name not in names:
            detail = f"There is no parameter {shown(name)}; the parameters are {', '.join(names)}."
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        if values.setdefault(name, value) != value:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"Parameter {name} is given twice, with two values.")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise bad_parameter_problem(error.errors()[0]) from error


def parameter_schemas(kind: type[BaseModel] = SegmentParameters) -> dict[str, dict[str, Any]]:
    """Returns the JSON schema of each parameter of a call, by name."""
    properties: dict[str, dict[str, Any]] = kind.model_json_schema()["properties"]
    return {name: _not_null(schema) for name, schema in properties.items()}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema without null, which no query can contain: a parameter is absent instead."""
    found = {key: value for key, value in schema.items() if key not in ("title", "anyOf")}
    for alternative in schema.get("anyOf", ()):
        if alternative != {"type": "null"}:
            found |= alternative
    return found if found.get("default", "") is not None else {k: v for k, v in found.items() if k != "default"}
