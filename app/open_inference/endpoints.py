"""The calls under /v2."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from app import pipeline
from app.open_inference import inference, metadata
from app.open_inference.inference import Answer, Asked
from app.open_inference.protocol import InferRequest
from app.problems import Problem, not_ready_problem
from app.served_net import ServedNet
from app.service import service_of
from app.upload import Upload
from model.segmenter import ImageTask


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Returns the schema without references, because the document that it becomes a part of lacks the definitions."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[-1]], definitions)
    return {key: _inlined(each, definitions) for key, each in schema.items() if key not in ("$defs", "discriminator")}


_REQUEST = InferRequest.model_json_schema()
_INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _inlined(_REQUEST, _REQUEST["$defs"])},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def _errors(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": _ERROR}}
    return {int(status): {"description": status.phrase, "content": content} for status in statuses}


_UNKNOWN_OR_NOT_READY = _errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
_REFUSED = _errors(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


async def _check_ready(request: Request) -> None:
    if not service_of(request).ready:
        raise not_ready_problem()


async def _find_net(request: Request, name: Annotated[str, Path()]) -> ServedNet:
    """Returns the net of this name, which the request uses until its end. Raises Problem: 404 no such net, 503."""
    service = service_of(request)
    if not service.loaded:
        raise not_ready_problem()
    net = service.nets.get(name)
    if net is None or request.path_params.get("version", metadata.VERSION) != metadata.VERSION:
        names = ", ".join(service.nets.names)
        detail = f"There is no such model; the models are {names}, each in version {metadata.VERSION}."
        raise Problem(HTTPStatus.NOT_FOUND, detail)
    return net


router = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"])
# Whole paths and no router of their own: the metrics' label is a route's path as it is written here.
_MODEL, _VERSION = "/models/{name}", "/models/{name}/versions/{version}"
_Net = Annotated[ServedNet, Depends(_find_net)]
_IF_READY = [Depends(_check_ready)]


@router.get("")
async def server_metadata() -> dict[str, Any]:
    """The server's name, version and extensions."""
    return metadata.server_metadata()


@router.get("/health/live", responses=_errors(HTTPStatus.SERVICE_UNAVAILABLE))
async def server_live(request: Request) -> dict[str, bool]:
    """200 while the process can answer."""
    if not service_of(request).healthy:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The engine has stopped.")
    return {"live": True}


@router.get("/health/ready", dependencies=_IF_READY, responses=_errors(HTTPStatus.SERVICE_UNAVAILABLE))
async def server_ready() -> dict[str, bool]:
    """200 once the weights are loaded and warm; 503 before that and while draining."""
    return {"ready": True}


@router.post("/repository/index", dependencies=_IF_READY, responses=_REFUSED)
async def repository_index(request: Request) -> list[dict[str, str]]:
    """The names, versions and states of all models: Triton's extension `model_repository`, without load and unload."""
    return metadata.repository_index(service_of(request).nets)


@router.get(_VERSION, dependencies=_IF_READY, include_in_schema=False)
@router.get(_MODEL, dependencies=_IF_READY, responses=_UNKNOWN_OR_NOT_READY)
async def model_metadata(net: _Net) -> dict[str, Any]:
    """The names, datatypes and shapes of inputs and outputs."""
    return metadata.model_metadata(net)


@router.get(_VERSION + "/config", dependencies=_IF_READY, include_in_schema=False)
@router.get(_MODEL + "/config", dependencies=_IF_READY, responses=_UNKNOWN_OR_NOT_READY)
async def model_config(net: _Net) -> dict[str, Any]:
    """The same as Triton's model configuration has it."""
    return metadata.model_config(net)


@router.get(_VERSION + "/ready", dependencies=_IF_READY, include_in_schema=False)
@router.get(_MODEL + "/ready", dependencies=_IF_READY, responses=_UNKNOWN_OR_NOT_READY)
async def model_ready(net: _Net) -> dict[str, Any]:
    """Answers as `/v2/health/ready` does."""
    return {"name": net.description.name, "ready": True}


@router.post(_VERSION + "/infer", response_class=Response, include_in_schema=False)
@router.post(
    _MODEL + "/infer",
    response_class=Response,
    openapi_extra=_INFER_BODY,
    responses=_UNKNOWN_OR_NOT_READY | _REFUSED,
)
async def infer(request: Request, progress: pipeline.ListedProgress, net: _Net) -> Response:
    """Images or pixel values in; mask, probability and mask_png out, as JSON or binary tensors."""
    service = service_of(request)

    def prepare() -> tuple[Asked, Sequence[ImageTask]]:
        return inference.prepare(service.settings, net, upload, request.headers)

    def encode(asked: Asked, tasks: Sequence[ImageTask]) -> Answer:
        return inference.encode(net, request.headers.get("accept-encoding", ""), asked, tasks)

    async with pipeline.deadline(service):
        upload = Upload(b"".join([chunk async for chunk in request.stream()]), "image")
        result = await pipeline.answer(request, progress, net, prepare, encode)
    answer = result.answer
    headers = {**pipeline.headers(net, result), **answer.headers}
    return Response(answer.data, media_type=answer.media_type, headers=headers)
