"""The page at `/`: the files of `static/` as they are. It calls `POST /segment` as anybody does.

All addresses in the files are relative, so the page works behind a path prefix too.
"""

from os import PathLike, stat_result
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).with_name("static")

# Nothing runs or loads that is not of this server; pictures may also be made in the page.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "worker-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # browsers ask each time and get a 304 by the ETag: page and service are always of one version
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


class _Files(StaticFiles):
    """Files with the headers; an unmodified one as 304, what is not there as 404."""

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response


_files = _Files(directory=STATIC)


@router.api_route("/", methods=["GET", "HEAD"])
@router.api_route("/static/{path:path}", methods=["GET", "HEAD"])
async def page(request: Request, path: str = "index.html") -> Response:
    """A file of the page."""
    return await _files.get_response(path, request.scope)
