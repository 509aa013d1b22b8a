"""The image in a request: the bytes and the name of one part of a form, or the whole body."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePath

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.problems import Problem

PARTS = ("file", "image")
RAW_TYPES = ("image/", "application/octet-stream")


@dataclass
class Upload:
    """`stem`: the file name without its ending, "image" if there was none."""

    data: bytes
    stem: str

    def take(self) -> bytes:
        """The data, which are no longer kept here."""
        data, self.data = self.data, b""
        return data


class _InMemory(MultiPartParser):
    """Starlette's parser, but a form must end, and never on disk: admission has bounded the body, so memory will do."""

    spool_max_size = 2**63 - 1
    ended = False

    def on_end(self) -> None:
        self.ended = True

    async def parse(self) -> FormData:
        self.stream = self._to_the_end(self.stream)
        return await super().parse()

    async def _to_the_end(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in stream:
            yield chunk
        if not self.ended:
            raise MultiPartException("no closing boundary")


async def read_upload(request: Request) -> Upload:
    """Reads the body. Raises Problem: 415 type not accepted, 422 part missing, 400 form broken."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _read_form(request)
    if kind.startswith(RAW_TYPES):
        # not request.body(), which keeps what it gives
        return Upload(b"".join([chunk async for chunk in request.stream()]), "image")
    detail = "Send multipart/form-data with a part named file, or an image as it is with its own content type."
    raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)


async def _read_form(request: Request) -> Upload:
    try:
        form = await _InMemory(request.headers, request.stream(), max_files=8, max_fields=8).parse()
    except MultiPartException as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "The multipart body is broken, cut off or has too many parts.") from error
    try:
        part = next((form[name] for name in PARTS if name in form), None)
        if not isinstance(part, UploadFile):
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The form has no file in a part named file (or image).")
        return Upload(await part.read(), _stem(part.filename))
    finally:
        await form.close()


def _stem(filename: str | None) -> str:
    """Returns a name that is safe in a quoted header value: ASCII letters, digits and a few signs."""
    stem = PurePath((filename or "").replace("\\", "/")).stem
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._- ") else "_" for sign in stem)
    return kept.strip()[:100] or "image"
