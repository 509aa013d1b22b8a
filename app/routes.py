"""The HTTP calls."""

import asyncio
import time
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect

from app.decode import decode, measure
from app.encode import Output, renderer
from app.problems import Problem, not_ready_problem, overload_problem
from app.scheduler import Job, Overloaded
from app.service import Service
from app.upload import Upload, read_upload
from model.images import encode_png
from model.segmenter import ImageTask, Render

router = APIRouter()

T = TypeVar("T")

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


_SEGMENT_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The mask or the probabilities, as large as the image.", "content": {"image/png": _BINARY}},
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
    output: Annotated[
        Output, Query(description="mask: 0 and 255 (or class indices); probability: 16 bits, 65535 = 1.0")
    ] = "mask",
    threshold: Annotated[
        float | None, Query(gt=0, lt=1, description="default: the one stored with the weights")
    ] = None,
    class_index: Annotated[
        int, Query(alias="class", ge=0, description="whose probability, for a net of several classes")
    ] = 0,
) -> Response:
    """An image in, its mask out: a PNG as large as the image."""
    service = _service(request)
    description = service.weights.description
    if class_index >= description.architecture.classes:
        last = description.architecture.classes - 1
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"Parameter class: the net's classes are 0 to {last}.")
    try:
        async with asyncio.timeout(service.settings.deadline_s):
            upload = await read_upload(request)
            decoding = time.perf_counter()
            render = renderer(output, description.threshold if threshold is None else threshold, class_index)
            job = await _unless_gone(request, _compute(service, upload, render))
            inferred = time.perf_counter()
            png = await service.in_pool(encode_png, job.task.result)
    except TimeoutError as error:
        detail = f"Not done within {service.settings.deadline_s:g} s."
        raise Problem(HTTPStatus.GATEWAY_TIMEOUT, detail) from error
    started = job.started or inferred
    stages = {
        "decode": job.submitted - decoding,
        "queue": started - job.submitted,
        "infer": inferred - started,
        "encode": time.perf_counter() - inferred,
    }
    return _answer(service, upload, output, png, stages)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; cancelled, with ClientDisconnect, if the client leaves first. The body must be read."""
    working, gone = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return await working
    finally:
        working.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _compute(service: Service, upload: Upload, render: Render) -> Job:
    """From the file's bytes to what is rendered: header check, decoding, queue, engine. Raises Problem."""
    try:
        task = await service.in_pool(_prepare, service, upload.take(), render)
        return await service.scheduler.run(task)
    except Overloaded as error:
        service.metrics.rejected.labels("overload").inc()
        raise overload_problem(error.retry_after_s) from error


def _prepare(service: Service, data: bytes, render: Render) -> ImageTask:
    """The image's tiles; while it is decoded it takes its room in the queue. Raises Problem, Overloaded."""
    claimed = measure(data, service.settings.max_pixels)
    with service.scheduler.room(claimed):
        pixels = decode(data)
    try:
        return service.segmenter.task(pixels, render)
    except ValueError as error:
        channels = service.weights.description.architecture.in_channels
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"The net takes images of {channels} channels.") from error


def _answer(service: Service, upload: Upload, output: Output, png: bytes, stages: dict[str, float]) -> Response:
    for stage, seconds in stages.items():
        service.metrics.stages.labels(stage).observe(seconds)
    headers = {
        "X-Model": service.weights.label,
        "Server-Timing": ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in stages.items()),
        "Content-Disposition": f'inline; filename="{upload.stem}_{output}.png"',
    }
    return Response(png, media_type="image/png", headers=headers)


@router.get("/model")
async def describe_model(request: Request) -> dict[str, Any]:
    """What is served: the weights, how they were made, and what runs them."""
    service = _service(request)
    if not service.ready:
        raise not_ready_problem()
    description, engine = service.weights.description, service.segmenter.engine
    return {
        "name": description.name,
        "sha256": service.weights.sha256,
        "architecture": description.architecture.model_dump(),
        "input_channels": description.architecture.in_channels,
        "preprocessing": description.preprocessing.model_dump(),
        "threshold": description.threshold,
        "labels": description.labels,
        "engine": engine.name,
        "device": engine.device,
        "precision": engine.precision,
        "tta": service.settings.tta,
        "provenance": description.provenance,
    }


@router.head("/healthz", include_in_schema=False)  # some load balancers ask with HEAD
@router.get("/healthz")
async def healthz(request: Request) -> JSONResponse:
    """200 while the process can answer."""
    if not _service(request).healthy:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The engine has stopped.")
    return JSONResponse({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """200 once the weights are loaded and warm; 503 before that and while draining."""
    if not _service(request).ready:
        raise not_ready_problem()
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response(generate_latest(_service(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
async def index(request: Request) -> RedirectResponse:
    """To the API pages."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
