"""The OpenAPI document: the texts and types that `/docs` shows, and that generators make clients from."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.admission import GUARDED, PROGRESS_ROUTE
from app.parameters import parameter_schemas
from app.request_progress import Stage
from app.saving.label_form import LabelParameters
from app.served_net import NetName, RefusedFile
from model.inputs.card import Card
from model.inputs.preprocessing import Preprocessing
from model.outputs.objects import Objects
from model.packages.packaged_net import PackagedNet
from model.unet import UNetConfig

TAGS = [
    {"name": "segmentation", "description": "Images to masks and objects."},
    {"name": "labels", "description": "Corrected labels to training data."},
    {"name": "service", "description": "What is served, and how the service is."},
    {"name": "Open Inference Protocol v2", "description": "The same nets for clients of other model servers."},
    {"name": "Imaging Server Kit", "description": "The same nets for plugins of napari and QuPath."},
]

_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of SEGMENT_API_KEYS."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key of SEGMENT_API_KEYS."},
}


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(examples=["about:blank"])
    title: str = Field(description="the status in words", examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(
        description="what is wrong, and what is accepted",
        examples=["Parameter threshold: Input should be less than 1."],
    )
    request_id: str = Field(
        description="as in the header X-Request-ID and in the log", examples=["0b8e6c1f5d3a4c0f9e2b7a6d1c4f8e30"]
    )


class ServedWeights(BaseModel):
    """The weights file that is served. File names have no folder."""

    file: str
    loaded_at: datetime = Field(description="when the net became ready, UTC")
    former: NetName | None = Field(description="file and label of the net that was served before")
    refused: RefusedFile | None = Field(description="the newest weights file, if it cannot be served, and the reason")


class RequestLimits(BaseModel):
    """Limits on requests of `POST /segment`."""

    max_body_bytes: int = Field(description="largest request body, bytes")
    max_pixels: int = Field(description="largest image, pixels of all pages together")


class ServedModel(BaseModel):
    """A net that is served, and the engine that runs it."""

    name: str
    sha256: str = Field(description="of the weights file")
    architecture: UNetConfig | PackagedNet = Field(description="the net, or what is known of that of a package")
    input_channels: int
    preprocessing: Preprocessing
    threshold: float = Field(description="lowest probability of the foreground, unless a request says otherwise")
    labels: dict[int, str] = Field(description="the meaning of the mask's values")
    card: Card | None = Field(description="what the net is for; null if its weights do not say it")
    has_example: bool = Field(description="true if GET /models/{name}/example/{picture} has an image and its mask")
    objects: Objects = Field(description="how the mask becomes objects")
    seed_depth: float | None
    min_area: int = Field(description="objects with fewer pixels are dropped")
    engine: str
    device: str
    precision: str
    tta: int = Field(description="views of each image whose results are averaged")
    limits: RequestLimits
    weights: ServedWeights = Field(description="the weights file, and what became of newer files")
    is_default: bool = Field(description="true for the net of requests that name none")
    loaded: bool = Field(description="true if the net is in memory; otherwise, the next request loads it")
    saves_labels: bool = Field(description="true if POST /labels saves pairs")
    provenance: dict[str, JsonValue] = Field(description="data, recipe, command and scores of the training")


class ServedModels(BaseModel):
    """All nets that are served."""

    default: str = Field(description="name of the net that serves requests that name none")
    models: list[ServedModel] = Field(description="the default first")
    refused: list[RefusedFile] = Field(description="weights files that cannot be served, and the reasons")


class ProgressReport(BaseModel):
    """The progress of a request that is being answered."""

    stage: Stage = Field(description="what happens to the request; encoding lasts until the answer is sent")
    stage_s: float = Field(description="seconds since the stage began")
    tiles_done: int = Field(description="number of tiles that are computed")
    tiles: int = Field(description="number of tiles of all pages, 0 until the image is decoded")


class SavedLabel(BaseModel):
    """The answer to a pair that is on the disk."""

    id: str = Field(description="name of the pair, the same for each label of the image")
    replaced: bool = Field(description="true if the image had another label, which is kept as history")
    pairs: int = Field(description="number of pairs that are saved")


class Status(BaseModel):
    """The answer of a probe."""

    status: str


BINARY = {"schema": {"type": "string", "format": "binary"}}
_OBJECT = {"schema": {"type": "object"}}
_FILE = {"type": "string", "format": "binary", "description": "the image (image is an alias)"}
_FORM = {"schema": {"type": "object", "required": ["file"], "properties": {"file": _FILE, **parameter_schemas()}}}
_LABEL_FILES = {
    "image": {"type": "string", "format": "binary", "description": "the image, one page"},
    "label": {
        "type": "string",
        "format": "binary",
        "description": "PNG or TIFF of one channel, as large as the image: mask, object ids or class indices",
    },
}
_LABELS_FORM = {
    "schema": {
        "type": "object",
        "required": list(_LABEL_FILES),
        "properties": {**_LABEL_FILES, **parameter_schemas(LabelParameters)},
    }
}
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/tiff", "image/bmp", "image/webp")

SEGMENT_REQUEST = {
    "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in parameter_schemas().items()],
    "requestBody": {"required": True, "content": {"multipart/form-data": _FORM} | dict.fromkeys(_IMAGE_TYPES, BINARY)},
}

LABELS_REQUEST = {
    "parameters": [
        {"name": name, "in": "query", "schema": schema} for name, schema in parameter_schemas(LabelParameters).items()
    ],
    "requestBody": {"required": True, "content": {"multipart/form-data": _LABELS_FORM}},
}


def _header(description: str, example: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}, "example": example}


_REQUEST_ID = {"X-Request-ID": _header("the request's id, given or new", "0b8e6c1f5d3a4c0f9e2b7a6d1c4f8e30")}
_MODEL = {"X-Model": _header("name of the weights @ first 12 digits of their sha256", "em-membranes@f0c4a1b2d3e4")}
_RETRY_AFTER = {"Retry-After": {"description": "seconds to wait before a retry", "schema": {"type": "integer"}}}


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Returns the description of error responses."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    described = dict[int | str, dict[str, Any]]()
    for status in statuses:
        headers = _REQUEST_ID | (_RETRY_AFTER if status == HTTPStatus.SERVICE_UNAVAILABLE else {})
        described[int(status)] = {"description": status.phrase, "content": content, "headers": headers}
    return described


_OF_UPLOADS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)

SEGMENT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The output, as large as the image.",
        "content": {
            "image/png": BINARY,
            "image/tiff": BINARY,
            "application/geo+json": _OBJECT,
            "application/json": _OBJECT,
            "text/csv": {"schema": {"type": "string"}},
            "application/zip": BINARY,
        },
        "headers": {
            **_REQUEST_ID,
            **_MODEL,
            "Server-Timing": _header("milliseconds of each stage", "decode;dur=1.2, queue;dur=0.1, infer;dur=98.0"),
            "X-Notice": _header(
                "how the image was read, if something was chosen or changed",
                "Pixel values from -20 to 3204 were scaled to the full range of the net.",
            ),
            "X-Channels": _header("URL-encoded names of the channels that channel chooses from", "DAPI,GFP"),
            "X-Channel-Pages": _header("URL-encoded title and pages of each channel", "DAPI=0-8/2;GFP=1-9/2"),
            "X-Pages": _header("number in the TIFF of each page of the result, if they differ", "0-8/2"),
            "X-Places": _header("section z and time t of each page: z5: lists z + 5 t, t5: lists t + 5 z", "z5:0-14/1"),
            "X-Pixel-Size": _header("width and height of a pixel in micrometres, if the file has them", "0.325,0.325"),
            "X-Spacing": _header("distance between sections in micrometres, if the file has it", "2.0"),
            "Content-Disposition": _header("a name for the file", 'inline; filename="image_mask.png"'),
        },
    },
    **problems(*_OF_UPLOADS, HTTPStatus.NOT_ACCEPTABLE),
}

LABELS_RESPONSES: dict[int | str, dict[str, Any]] = {
    201: {"description": "The pair is saved.", "headers": {**_REQUEST_ID, **_MODEL}},
    **problems(*_OF_UPLOADS, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.INSUFFICIENT_STORAGE),
}


def operation_id(route: APIRoute) -> str:
    """Returns the name of the function, so that generated clients have stable and readable names."""
    return route.name


def document(app: FastAPI, *, needs_key: bool) -> Callable[[], dict[str, Any]]:
    """Returns the function that makes the document of an application, once."""

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS
            )
            components = schema.setdefault("components", {})
            components.setdefault("schemas", {})["Problem"] = ProblemDetails.model_json_schema()
            components["securitySchemes"] = _SECURITY
            calls = [schema["paths"][path]["post"] for path in GUARDED.keys() & schema["paths"].keys()]
            for call in [*calls, schema["paths"][PROGRESS_ROUTE]["get"]]:
                # an empty requirement: the call also works without a key
                keys = [{name: list[str]()} for name in _SECURITY]
                call["security"] = keys if needs_key else [*keys, {}]
            app.openapi_schema = schema
        return app.openapi_schema

    return openapi
