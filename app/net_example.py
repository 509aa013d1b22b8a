"""The call `GET /models/{name}/example/{picture}`: a small image and its mask, which show what a net is for."""

from http import HTTPStatus
from typing import Any, Literal, TypeAlias

from fastapi import APIRouter, Request, Response

from app.openapi import BINARY, problems
from app.problems import Problem, shown
from app.served_net import ServedNet
from app.service import ready_service_of

router = APIRouter()

Picture: TypeAlias = Literal["image.png", "mask.png"]

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "A small picture.", "content": {"image/png": BINARY}},
    304: {"description": "The client has the picture already."},
    **problems(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
}


@router.get("/models/{name}/example/{picture}", response_class=Response, responses=_RESPONSES, tags=["service"])
async def get_example(request: Request, name: str, picture: Picture) -> Response:
    """Returns a small image, or its mask, from the weights of a net, to look at.

    It is stretched to 8 bits and may be scaled: do not segment it to judge the net.
    """
    net = ready_service_of(request).nets.get(name)
    if net is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"There is no model {shown(name)}; GET /models lists all.")
    return _answer(net, picture, request.headers.get("if-none-match", ""))


def _answer(net: ServedNet, picture: Picture, known: str) -> Response:
    """Returns a picture, or 304 if the client knows its ETag. Raises Problem, 404."""
    example = net.description.example
    if example is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"The weights of {net.description.name} hold no example.")
    etag = f'"{net.weights.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if etag in known:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    data = example.image if picture == "image.png" else example.mask
    return Response(data, media_type="image/png", headers=headers)
