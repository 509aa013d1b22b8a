"""The HTTP calls."""

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app import pipeline
from app.accept import best_media_type
from app.parameters import SegmentParameters, parameter_schemas, read_parameters
from app.problems import Problem, not_ready_problem
from app.service import Service, service_of
from app.upload import read_upload
from model.outputs.output import Output, OutputSpec

router = APIRouter()

# The output and the form that a media type in an Accept header asks for, the preferred one first.
_BY_TYPE: dict[str, Output] = {
    "image/png": "mask",
    "image/tiff": "mask",
    "application/geo+json": "geojson",
    "application/json": "coco",
}
_PICTURES = ("image/png", "image/tiff")
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE = {"type": "string", "format": "binary", "description": "the image (image is an alias)"}
_FORM = {"schema": {"type": "object", "required": ["file"], "properties": {"file": _FILE, **parameter_schemas()}}}
_SEGMENT_REQUEST = {
    "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in parameter_schemas().items()],
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": _FORM}
        | {f"image/{kind}": _BINARY for kind in ("png", "jpeg", "tiff", "bmp", "webp")},
    },
}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
    },
}


def _problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    content = {"application/problem+json": {"schema": _PROBLEM}}
    return {int(status): {"description": status.phrase, "content": content} for status in statuses}


_UNAVAILABLE = _problems(HTTPStatus.SERVICE_UNAVAILABLE)
_SEGMENT_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The output, as large as the image.",
        "content": {
            "image/png": _BINARY,
            "image/tiff": _BINARY,
            "application/geo+json": {"schema": {"type": "object"}},
            "application/json": {"schema": {"type": "object"}},
        },
    },
    **_problems(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    ),
}


@router.post("/segment", response_class=Response, openapi_extra=_SEGMENT_REQUEST, responses=_SEGMENT_ANSWERS)
async def segment(request: Request) -> Response:
    """An image in, its mask out: a PNG as large as the image; for a TIFF of several pages, a TIFF of as many.

    Parameters are in the query or fields of the form.
    """
    service = service_of(request)
    accepted = request.headers.get("accept", "")
    query = request.query_params.multi_items()
    _output_spec(service, read_parameters(query), accepted)  # a bad query is refused before the body is read
    async with pipeline.deadline(service):
        upload = await read_upload(request, service)
        output_spec = _output_spec(service, read_parameters([*query, *upload.fields]), accepted)
        result = await pipeline.segment(request, service, upload, output_spec)
    file = result.answer
    headers = {
        **pipeline.headers(service, result),
        "Content-Disposition": _content_disposition(f"{upload.stem}_{output_spec.output}{file.suffix}"),
    }
    return Response(file.data, media_type=file.media_type, headers=headers)


def _output_spec(service: Service, parameters: SegmentParameters, accepted: str) -> OutputSpec:
    """Combines parameters and Accept header. Raises Problem: 422 no such class, 406 no such media type."""
    last = service.weights.description.architecture.classes - 1
    if parameters.class_index > last:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"Parameter class: the net's classes are 0 to {last}.")
    if parameters.output is None:
        media_type = best_media_type(accepted, tuple(_BY_TYPE))
        output = _BY_TYPE[media_type]
    else:
        # the parameter decides the output; the header only whether a picture is a TIFF
        output = parameters.output
        media_type = best_media_type(accepted, _PICTURES, otherwise="image/png")
    return OutputSpec(output, parameters.threshold, parameters.class_index, tiff=media_type == "image/tiff")


def _content_disposition(name: str) -> str:
    """Returns the header value that names a file; RFC 6266 has the second form for names that are not ASCII."""
    simple = "".join(sign if sign.isascii() else "_" for sign in name)
    return f'inline; filename="{simple}"' + ("" if name.isascii() else f"; filename*=UTF-8''{quote(name, safe='')}")


@router.get("/model", responses=_UNAVAILABLE)
async def describe_model(request: Request) -> dict[str, Any]:
    """Returns what is served: the weights, their origin, and the engine."""
    service = service_of(request)
    if not service.ready:
        raise not_ready_problem()
    description, engine = service.weights.description, service.scheduler.engine
    return {
        "name": description.name,
        "sha256": service.weights.sha256,
        "architecture": description.architecture.model_dump(),
        "input_channels": description.architecture.in_channels,
        "preprocessing": description.preprocessing.model_dump(),
        "threshold": description.threshold,
        "labels": description.labels,
        "objects": description.objects,
        "seed_depth": description.seed_depth,
        "min_area": description.min_area,
        "engine": engine.name,
        "device": engine.device,
        "precision": engine.precision,
        "tta": service.settings.tta,
        "provenance": description.provenance,
    }


@router.head("/healthz", include_in_schema=False)  # some load balancers ask with HEAD
@router.get("/healthz", responses=_UNAVAILABLE)
async def healthz(request: Request) -> JSONResponse:
    """200 while the process can answer."""
    if not service_of(request).healthy:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The engine has stopped.")
    return JSONResponse({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=_UNAVAILABLE)
async def readyz(request: Request) -> JSONResponse:
    """200 once the weights are loaded and warm; 503 before that and while draining."""
    if not service_of(request).ready:
        raise not_ready_problem()
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response(generate_latest(service_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)
