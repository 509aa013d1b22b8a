"""The JSON of an inference request: its shapes, and where in the body it ends and binary data begin."""

from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field, PositiveInt, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from app.json_parts import check_json_parts
from app.problems import Problem

OutputName: TypeAlias = Literal["mask", "probability", "mask_png"]

ALL_OUTPUTS: tuple[OutputName, ...] = ("mask", "probability", "mask_png")

# Read whole and at once, while nothing else in the process runs.
MOST_JSON_BYTES = 32 * 2**20


class InputParameters(BaseModel):
    """`binary_data_size`: bytes of the tensor after the JSON; None if its data are in the JSON."""

    binary_data_size: int | None = Field(None, ge=0)


class ImageInput(BaseModel):
    """Image files, N or N x 1. `data`: their base64, nested or flat."""

    name: Literal["image"]
    datatype: Literal["BYTES"]
    shape: list[PositiveInt] = Field(min_length=1, max_length=2)
    parameters: InputParameters = InputParameters()
    data: Any = None


class PixelInput(BaseModel):
    """Pixel values, N x C x H x W. `data`: numbers, nested or flat."""

    name: Literal["input"]
    datatype: Literal["FP32"]
    shape: list[PositiveInt] = Field(min_length=4, max_length=4)
    parameters: InputParameters = InputParameters()
    data: Any = None


Input: TypeAlias = Annotated[ImageInput | PixelInput, Field(discriminator="name")]


class OutputParameters(BaseModel):
    """`binary_data`: after the JSON instead of in it; None: as the request says for all outputs."""

    binary_data: bool | None = None
    classification: None = None
    shared_memory_region: None = None

    @field_validator("classification", "shared_memory_region", mode="before")
    @classmethod
    def _refuse(cls, _value: object) -> None:
        raise PydanticCustomError("unsupported", "This extension of the protocol is not supported")


class RequestedOutput(BaseModel):
    """One of the outputs."""

    name: OutputName
    parameters: OutputParameters = OutputParameters()


class RequestParameters(BaseModel):
    """`threshold`: None for the one stored with the weights. Parameters of other servers are ignored."""

    binary_data_output: bool = False
    threshold: float | None = Field(None, gt=0, lt=1)


class InferRequest(BaseModel):
    """An inference request: one input, and the outputs asked for. No outputs means all."""

    id: str | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: list[Input] = Field(min_length=1, max_length=1)
    outputs: list[RequestedOutput] = []

    @property
    def wanted(self) -> dict[OutputName, bool]:
        """Returns the outputs in the order of the request, and whether each is sent as binary data."""
        default = self.parameters.binary_data_output
        if not self.outputs:
            return dict.fromkeys(ALL_OUTPUTS, default)
        given = {output.name: output.parameters.binary_data for output in self.outputs}
        return {name: default if binary is None else binary for name, binary in given.items()}


def bad_request(detail: str) -> Problem:
    """400, with what was wrong and what is accepted."""
    return Problem(HTTPStatus.BAD_REQUEST, detail)


def read_request(body: bytes, json_length: str | None) -> tuple[InferRequest, memoryview]:
    """The request, and the binary data that follow it. `json_length`: what Inference-Header-Content-Length says.

    Raises Problem: 400, or 413 for JSON of more than MOST_JSON_BYTES.
    """
    length = len(body) if json_length is None else _length(json_length, len(body))
    if length > MOST_JSON_BYTES:
        detail = f"The JSON is larger than {MOST_JSON_BYTES} bytes: send the tensor as binary data."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    text = body[:length]
    check_json_parts(text, "send the data flat, or as binary data.")
    try:
        return InferRequest.model_validate_json(text), memoryview(body)[length:]
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise bad_request(f"{where}: {first['msg']}.") from error


def _length(given: str, most: int) -> int:
    if not (given.isascii() and given.isdecimal() and len(given) < 20 and int(given) <= most):
        raise bad_request("Inference-Header-Content-Length is the size of the JSON in bytes, no more than the body's.")
    return int(given)
