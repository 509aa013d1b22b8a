"""The image in a request: the bytes and the name of one part of a form, or the whole body."""

import unicodedata
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePath

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.admission import COUNT_BYTES
from app.compression import inflate
from app.problems import Problem, shown
from app.service import Service

PARTS = ("file", "image")
FORM_TYPE = "multipart/form-data"
RAW_TYPES = ("image/", "application/octet-stream", "application/dicom")

# Characters of a file name that are kept besides letters, marks and digits of all scripts.
_SAFE = "._- "


@dataclass
class Upload:
    """An image as it was sent.

    Attributes:
        data: The bytes of the file.
        name: The file name, without separators, quotes and control characters; "image" if the request has none.
        fields: Names and values of the form's other fields.
    """

    data: bytes
    name: str
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def stem(self) -> str:
        """The file name without its ending."""
        return PurePath(self.name).stem

    def take(self) -> bytes:
        """Returns the data and drops them here."""
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


async def read_upload(request: Request, service: Service) -> Upload:
    """Reads the body.

    Raises:
        Problem: 400 broken form or compression, 413 too large when decompressed, 415 type or coding not accepted, 422
            not exactly one file.
    """
    kind = content_type(request)
    if kind == FORM_TYPE:
        return await _read_form(request, service)
    if kind.startswith(RAW_TYPES):
        # not request.body(), which keeps what it gives
        return Upload(b"".join([chunk async for chunk in _stream(request, service)]), "image")
    detail = "Send multipart/form-data with a part named file, or an image as it is with its own content type."
    raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)


def content_type(request: Request) -> str:
    """Returns the media type of the body in lower case, without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def _stream(request: Request, service: Service) -> AsyncGenerator[bytes, None]:
    """Yields the body without its Content-Encoding."""
    coding = request.headers.get("content-encoding", "")
    if not coding:
        async for chunk in request.stream():
            yield chunk
        return
    body = b"".join([chunk async for chunk in request.stream()])
    inflated = await service.run_in_pool(inflate, body, coding, service.settings.max_body_bytes)
    request.scope[COUNT_BYTES](len(inflated))
    yield inflated


async def read_form(request: Request, service: Service) -> FormData:
    """Reads a form into memory; the caller closes it.

    Raises:
        Problem: 400 broken form or compression, 413 too large when decompressed, 415 coding not accepted.
    """
    try:
        return await _InMemory(request.headers, _stream(request, service), max_files=8, max_fields=16).parse()
    except MultiPartException as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "The multipart body is broken, cut off or has too many parts.") from error


def fields_of(form: FormData) -> tuple[tuple[str, str], ...]:
    """Returns names and values of the fields that are no files."""
    return tuple((name, value) for name, value in form.multi_items() if isinstance(value, str))


async def _read_form(request: Request, service: Service) -> Upload:
    form = await read_form(request, service)
    try:
        part = _the_file(form)
        return Upload(await part.read(), safe_name(part.filename), fields_of(form))
    finally:
        await form.close()


def _the_file(form: FormData) -> UploadFile:
    """Returns the one file of a form. Raises Problem, 422."""
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    texts = [name for name in PARTS if isinstance(form.get(name), str)]
    if texts:
        detail = f"The part {texts[0]} is text; send a file, with a filename, in a part named file (or image)."
    elif not files:
        detail = "The form has no file in a part named file (or image)."
    elif len(files) > 1:
        detail = f"The form has {len(files)} files; send one image, in a part named file (or image)."
    elif files[0][0] not in PARTS:
        detail = f"The file is in a part named {shown(files[0][0])}; send it in a part named file (or image)."
    else:
        return files[0][1]
    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def safe_name(filename: str | None) -> str:
    """Returns a name without separators, quotes and control characters, whose stem has at most 100 characters."""
    path = PurePath((filename or "").replace("\\", "/"))
    return (_safe(path.stem).strip()[:100] or "image") + _safe(path.suffix)[:20]


def _safe(text: str) -> str:
    normal = unicodedata.normalize("NFC", text)
    return "".join(sign if unicodedata.category(sign)[0] in "LMN" or sign in _SAFE else "_" for sign in normal)
