"""The HTTP calls."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app import pipeline
from app.problems import Problem, not_ready_problem
from app.service import Service, service_of
from app.upload import read_upload
from model.outputs.output import Output, OutputSpec

router = APIRouter()

_OUTPUT = (
    "mask (the default): 0 and 255, or class indices; probability: 16 bits, 65535 = 1.0; instances: ids in 16 bits; "
    "overlay: RGB; geojson: polygons; coco: run lengths"
)
# What an Accept header chooses where ?output= does not.
_BY_TYPE: dict[str, Output] = {"application/geo+json": "geojson", "application/json": "coco"}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary", "description": "the image (image is an alias)"}},
    }
}
_SEGMENT_BODY = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": _FORM}
        | {f"image/{kind}": _BINARY for kind in ("png", "jpeg", "tiff", "bmp", "webp")},
    }
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
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    ),
}


@router.post("/segment", response_class=Response, openapi_extra=_SEGMENT_BODY, responses=_SEGMENT_ANSWERS)
async def segment(
    request: Request,
    output: Annotated[Output | None, Query(description=_OUTPUT)] = None,
    threshold: Annotated[
        float | None, Query(gt=0, lt=1, description="default: the one stored with the weights")
    ] = None,
    class_index: Annotated[
        int,
        Query(
            alias="class",
            ge=0,
            description="class whose probability is returned; only a net of several classes has more than class 0",
        ),
    ] = 0,
) -> Response:
    """An image in, its mask out: a PNG as large as the image; for a TIFF of several pages, a TIFF of as many."""
    service = service_of(request)
    _check_class(service, class_index)
    accepted = request.headers.get("accept", "")
    output_spec = OutputSpec(output or _preferred(accepted), threshold, class_index, tiff=_prefers_tiff(accepted))
    async with pipeline.deadline(service):
        upload = await read_upload(request)
        result = await pipeline.segment(request, service, upload, output_spec)
    file = result.answer
    headers = {
        **pipeline.headers(service, result),
        "Content-Disposition": f'inline; filename="{upload.stem}_{output_spec.output}{file.suffix}"',
    }
    return Response(file.data, media_type=file.media_type, headers=headers)


def _check_class(service: Service, class_index: int) -> None:
    """Raises Problem."""
    last = service.weights.description.architecture.classes - 1
    if class_index > last:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"Parameter class: the net's classes are 0 to {last}.")


def _preferred(accepted: str) -> Output:
    """Returns the output that an Accept header asks for: the mask, unless only another media type is accepted."""
    if "*/*" in accepted or "image/" in accepted:
        return "mask"
    return next((output for media_type, output in _BY_TYPE.items() if media_type in accepted), "mask")


def _prefers_tiff(accepted: str) -> bool:
    return "image/tiff" in accepted and not any(other in accepted for other in ("image/png", "image/*", "*/*"))


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
