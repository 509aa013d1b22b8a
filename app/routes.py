"""The HTTP calls."""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app import pipeline
from app.accept import best_media_type
from app.admission import PROGRESS_ROUTE
from app.openapi import (
    SEGMENT_REQUEST,
    SEGMENT_RESPONSES,
    ProgressReport,
    RequestLimits,
    ServedModel,
    ServedModels,
    ServedWeights,
    Status,
    problems,
)
from app.parameters import SegmentParameters, read_parameters
from app.problems import Problem, not_ready_problem
from app.request_log import REQUEST_ID
from app.served_net import ServedNet
from app.served_nets import ServedNets
from app.service import Service, ready_service_of, service_of
from app.upload import read_upload
from model.outputs.output import Output, OutputSpec

router = APIRouter()

# The output and the form that a media type in an Accept header asks for, the preferred one first.
_BY_TYPE: dict[str, Output] = {
    "image/png": "mask",
    "image/tiff": "mask",
    "application/geo+json": "geojson",
    "application/json": "coco",
    "text/csv": "table",
    "application/zip": "rois",
}
_PICTURES = ("image/png", "image/tiff")
_UNAVAILABLE = problems(HTTPStatus.SERVICE_UNAVAILABLE)


@router.post(
    "/segment",
    response_class=Response,
    openapi_extra=SEGMENT_REQUEST,
    responses=SEGMENT_RESPONSES,
    tags=["segmentation"],
)
async def segment(request: Request, progress: pipeline.ListedProgress) -> Response:
    """An image in, its mask out: a PNG as large as the image; for a TIFF of several pages, a TIFF of as many.

    Parameters are in the query or fields of the form.
    """
    service = service_of(request)
    nets = service.nets
    accepted = request.headers.get("accept", "")
    query = request.query_params.multi_items()
    _check_query(nets, read_parameters(query), accepted)
    async with pipeline.deadline(service):
        upload = await read_upload(request, service)
        parameters = read_parameters([*query, *upload.fields])
        net = nets.find(parameters.model)
        output_spec = _output_spec(net, parameters, accepted)
        result = await pipeline.segment(request, progress, nets, net, upload, output_spec, parameters.channel)
    file = result.answer
    headers = {
        **pipeline.headers(net, result),
        "Content-Disposition": _content_disposition(f"{upload.stem}_{output_spec.output}{file.suffix}"),
    }
    return Response(file.data, media_type=file.media_type, headers=headers)


def _check_query(nets: ServedNets, parameters: SegmentParameters, accepted: str) -> None:
    """Refuses a bad query before the body is read; a field of the form may still name the net. Raises Problem."""
    net = nets.find(parameters.model)
    if parameters.model or len(nets) == 1:
        _output_spec(net, parameters, accepted)


def _output_spec(net: ServedNet, parameters: SegmentParameters, accepted: str) -> OutputSpec:
    """Combines parameters and Accept header. Raises Problem: 422 no such class, 406 no such media type."""
    last = net.description.architecture.classes - 1
    if parameters.class_index > last:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"Parameter class: the net's classes are 0 to {last}.")
    if parameters.output is None:
        media_type = best_media_type(accepted, tuple(_BY_TYPE))
        output = _BY_TYPE[media_type]
    else:
        # the parameter decides the output; the header only whether a picture is a TIFF
        output = parameters.output
        media_type = best_media_type(accepted, _PICTURES, otherwise="image/png")
    tiff = media_type == "image/tiff"
    return OutputSpec(output, parameters.threshold, parameters.class_index, tiff, parameters.min_area)


def _content_disposition(name: str) -> str:
    """Returns the header value that names a file; RFC 6266 has the second form for names that are not ASCII."""
    simple = "".join(sign if sign.isascii() else "_" for sign in name)
    return f'inline; filename="{simple}"' + ("" if name.isascii() else f"; filename*=UTF-8''{quote(name, safe='')}")


@router.get(
    PROGRESS_ROUTE,
    responses=problems(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    tags=["segmentation"],
)
async def get_progress(
    request: Request, request_id: Annotated[str, Path(pattern=f"^{REQUEST_ID.pattern}$")]
) -> ProgressReport:
    """Returns the stage of a request that is being answered, and the number of its tiles that are computed."""
    progress = service_of(request).progress.find(request_id)
    if progress is None:
        raise Problem(HTTPStatus.NOT_FOUND, "This process is answering no request with this X-Request-ID.")
    return ProgressReport(
        stage=progress.stage,
        stage_s=round(progress.stage_s, 2),
        tiles_done=progress.tiles_done,
        tiles=progress.tiles,
    )


@router.get("/model", responses=_UNAVAILABLE, tags=["service"])
async def get_model(request: Request) -> ServedModel:
    """Returns the default net: the weights, their origin, and the engine."""
    service = ready_service_of(request)
    return _describe(service, service.net)


@router.get("/models", responses=_UNAVAILABLE, tags=["service"])
async def get_models(request: Request) -> ServedModels:
    """Returns all nets that are served, the default first. The parameter `model` chooses one by its name."""
    service = ready_service_of(request)
    models = [_describe(service, net) for net in service.nets]
    return ServedModels(default=models[0].name, models=models, refused=list(service.refused))


def _describe(service: Service, net: ServedNet) -> ServedModel:
    description, engine = net.description, net.engine
    newest_refused = next(iter(service.refused), None)
    return ServedModel(
        name=description.name,
        sha256=net.weights.sha256,
        architecture=description.architecture,
        input_channels=description.architecture.in_channels,
        preprocessing=description.preprocessing,
        threshold=description.threshold,
        labels=description.labels,
        card=description.card,
        has_example=description.example is not None,
        objects=description.objects,
        seed_depth=description.seed_depth,
        min_area=description.min_area,
        engine=engine.name,
        device=engine.device,
        precision=engine.precision,
        tta=service.settings.tta,
        limits=RequestLimits(max_body_bytes=service.settings.max_body_bytes, max_pixels=service.settings.max_pixels),
        weights=ServedWeights(file=net.file, loaded_at=net.loaded_at, former=net.former, refused=newest_refused),
        is_default=net is service.net,
        loaded=net.scheduler.loaded,
        saves_labels=service.label_store is not None,
        provenance=description.provenance,
    )


@router.head("/healthz", include_in_schema=False)  # some load balancers ask with HEAD
@router.get("/healthz", responses=_UNAVAILABLE, tags=["service"])
async def get_health(request: Request) -> Status:
    """200 while the process can answer."""
    if not service_of(request).healthy:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The engine has stopped.")
    return Status(status="ok")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=_UNAVAILABLE, tags=["service"])
async def get_readiness(request: Request) -> Status:
    """200 once the weights are loaded and warm; 503 before that and while draining."""
    if not service_of(request).ready:
        raise not_ready_problem()
    return Status(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    tags=["service"],
)
async def get_metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response(generate_latest(service_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)
