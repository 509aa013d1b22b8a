"""The calls of the Imaging Server Kit: each net is an algorithm."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import HTMLResponse

from app import page, pipeline
from app.compression import inflate
from app.decode import image_problems, measure
from app.openapi import problems
from app.problems import Problem, not_ready_problem, shown
from app.served_net import ServedNet
from app.served_nets import ServedNets
from app.server_kit.algorithm import info_page, parameter_names, parameters_schema
from app.server_kit.array_pages import ArrayAxes, axes_of, check_pixels, check_sizes, decode_array
from app.server_kit.layers import KitRequest, read_layers
from app.server_kit.result_layers import KitResult, LayerData, encode_layers, sample_layer
from app.service import Service, service_of
from model.images.png import decode_png
from model.inputs.net_input import NetInput
from model.outputs.limits import OutputError
from model.outputs.output import renderer
from model.segmenter import ImageTask

MESSAGE_PACK = "application/msgpack"

_PROCESS_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["kind", "name"],
                        "properties": {"kind": {"type": "string"}, "name": {"type": "string"}, "data": {}},
                    },
                }
            }
        },
    }
}
_LAYERS = {"type": "array", "items": {"type": "object"}}
_PROCESS_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The layers, if the client accepts MessagePack.",
        "content": {MESSAGE_PACK: {"schema": {"type": "string", "format": "binary"}}},
    },
    201: {"description": "The layers, for all other clients.", "content": {"application/json": {"schema": _LAYERS}}},
    **problems(
        *(HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_TIMEOUT),
        *(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY),
        *(HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT),
    ),
}
_UNKNOWN = problems(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True)
class _Kept:
    """A request and its image as decoded, from which the answer is made besides the results of the tasks."""

    request: KitRequest
    given: NetInput
    axes: ArrayAxes


def _served(request: Request) -> ServedNets:
    """Returns the nets. Raises Problem: 503 before they are loaded."""
    service = service_of(request)
    if not service.loaded:
        raise not_ready_problem()
    return service.nets


async def _find_net(request: Request, name: Annotated[str, Path()]) -> ServedNet:
    """Returns the net of a name, which the request uses until its end. Raises Problem: 404 no such net, 503."""
    nets = _served(request)
    net = nets.get(name)
    if net is None:
        detail = f"There is no algorithm {shown(name)}; the algorithms are {', '.join(nets.names)}."
        raise Problem(HTTPStatus.NOT_FOUND, detail)
    return net


router = APIRouter(tags=["Imaging Server Kit"])
_Net = Annotated[ServedNet, Depends(_find_net)]


@router.get("/algorithms", responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def list_algorithms(request: Request) -> dict[str, list[str]]:
    """The names of the nets."""
    return {"algorithms": list(_served(request).names)}


@router.get("/{name}/parameters", responses=_UNKNOWN)
async def get_parameters(net: _Net) -> dict[str, Any]:
    """The JSON schema of the parameters."""
    return parameters_schema(net.description)


@router.get("/{name}/signature", responses=_UNKNOWN)
async def get_signature(net: _Net) -> list[str]:
    """The names of the parameters in their order."""
    return parameter_names(net.description)


@router.get("/{name}/info", response_class=HTMLResponse, responses=_UNKNOWN)
async def get_info(net: _Net) -> HTMLResponse:
    """A page about the net."""
    return HTMLResponse(info_page(net.description), headers=page.HEADERS)


@router.get("/{name}/n_samples", responses=_UNKNOWN)
async def count_samples(net: _Net) -> dict[str, int]:
    """The number of example images."""
    return {"n_samples": _count_samples(net)}


@router.get("/{name}/sample/{index}", responses=_UNKNOWN)
async def get_sample(net: _Net, index: int) -> list[dict[str, Any]]:
    """An example image as a layer: small, and stretched to 8 bits."""
    example = net.description.example
    if example is None or index != 0:
        detail = f"There is no sample {index}; {net.description.name} has {_count_samples(net)}, numbered from 0."
        raise Problem(HTTPStatus.NOT_FOUND, detail)
    return [sample_layer(decode_png(example.image))]


def _count_samples(net: ServedNet) -> int:
    return 0 if net.description.example is None else 1


@router.get("/{name}/tileable", responses=_UNKNOWN)
async def is_tileable(net: _Net) -> dict[str, bool]:  # noqa: ARG001
    """False, because the service cuts tiles itself, with overlaps that leave no seams."""
    return {"tileable": False}


@router.get("/{name}/is_stream", responses=_UNKNOWN)
async def is_stream(net: _Net) -> bool:  # noqa: ARG001
    """False: a request has one answer. Clients before version 0.2 ask this."""
    return False


@router.post(
    "/{name}/process",
    response_class=Response,
    openapi_extra=_PROCESS_BODY,
    responses=_PROCESS_RESPONSES,
)
async def process(request: Request, progress: pipeline.ListedProgress, net: _Net) -> Response:
    """Layers in, one of them an image; a layer out: mask, ids, boxes, points or probability."""
    service = service_of(request)
    as_stream = MESSAGE_PACK in request.headers.get("accept", "")
    body: list[bytes] = []

    def prepare() -> tuple[_Kept, Sequence[ImageTask]]:
        text = inflate(body.pop(), request.headers.get("content-encoding", ""), service.settings.max_body_bytes)
        return _prepare(service, net, read_layers(text, net.description, request.headers))

    def encode(kept: _Kept, tasks: Sequence[ImageTask]) -> bytes:
        return encode_layers([_to_layer(net, kept, tasks)], as_stream)

    async with pipeline.deadline(service):
        body.append(b"".join([chunk async for chunk in request.stream()]))
        result = await pipeline.answer(request, progress, net, prepare, encode)
    status, media_type = (HTTPStatus.OK, MESSAGE_PACK) if as_stream else (HTTPStatus.CREATED, "application/json")
    return Response(result.answer, status, pipeline.headers(net, result), media_type)


def _prepare(service: Service, net: ServedNet, request: KitRequest) -> tuple[_Kept, Sequence[ImageTask]]:
    """Decodes the image and makes its tasks. Raises Problem, QueueFull."""
    file = measure(request.image, service.settings.max_pixels)
    axes = axes_of(file.header)
    pixels = check_pixels(file.header, axes, service.settings.max_pixels)
    with net.reserved(pixels):
        given = decode_array(file, axes, net.description, request.parameters.channel)
    if request.wants_array:
        check_sizes(given)
    tasks = pipeline.make_tasks(net, given, renderer(request.output_spec, net.description))
    kept = _Kept(replace(request, image=b""), given, axes)
    return kept, tasks


def _to_layer(net: ServedNet, kept: _Kept, tasks: Sequence[ImageTask]) -> LayerData:
    rendered = [task.result for task in tasks]
    try:
        with image_problems():
            return KitResult(kept.request, net.description, kept.given, kept.axes, rendered).to_layer()
    except OutputError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
