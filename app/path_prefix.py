"""The path prefix under which a reverse proxy publishes the service. Plain ASGI middleware.

A proxy may strip the prefix from the path or leave it. Links in `/docs` and the servers of `/openapi.json` contain it.
"""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class PathPrefix:
    """Sets the `root_path` of each request: SEGMENT_ROOT_PATH, or the header X-Forwarded-Prefix.

    The header can only change links in the answer to the request that it came with. A value that is no path is ignored.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app, self.root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = self.root_path or _forwarded(scope)
        await self.app(_with_prefix(scope, prefix) if prefix else scope, receive, send)


def _forwarded(scope: Scope) -> str:
    if scope["type"] != "http":
        return ""
    given = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
    return given if PREFIX.fullmatch(given) else ""


def _with_prefix(scope: Scope, prefix: str) -> Scope:
    """Returns the scope as ASGI has it: the path begins with the root path."""
    if scope["type"] != "http":
        return scope
    stripped = not scope["path"].startswith(f"{prefix}/")
    path, raw_path = scope["path"], scope.get("raw_path") or b""
    if stripped:
        path, raw_path = prefix + path, prefix.encode() + raw_path
    return {**scope, "root_path": prefix, "path": path, "raw_path": raw_path}
