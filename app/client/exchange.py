"""One call of the service as a client sees it: what is sent, when to send it again, what the answer holds.

All of it but the sending, which `app.client` does with and without asyncio.
"""

import csv
import random
import warnings
from http import HTTPStatus
from io import BytesIO, StringIO
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import numpy as np
from numpy.typing import NDArray

from .png_codec import START, Pixels, decode_png, encode_png
from .proxies import proxy_hint, with_hint

File: TypeAlias = str | PathLike[str] | bytes
"""The path of an image file, or what such a file holds."""

Call: TypeAlias = dict[str, Any]
"""The arguments of httpx's `request`."""

Outcome: TypeAlias = httpx.Response | httpx.TransportError

# Transport errors that count as outcomes: no connection, or a broken one. A client that is still sending a large image
# may see a 503 as a broken connection.
BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError)

MODEL: Call = {"method": "GET", "url": "/model"}
MODELS: Call = {"method": "GET", "url": "/models"}
READY: Call = {"method": "GET", "url": "/readyz"}

# Seconds of the first wait if the service sends no Retry-After; each further wait is twice as long.
FIRST_WAIT_S = 0.5

# Shapes of an array's channels.
_CHANNELS = ((), (1,), (3,), (4,))

# Waits are prolonged by up to this share, so that clients refused together do not retry together.
JITTER = 0.25


class ServiceError(Exception):
    """The service refused: what its problem+json says.

    `request_id` is what the service's log knows the request by; empty if somebody before the service answered.
    """

    def __init__(self, status: int, title: str, detail: str, request_id: str) -> None:
        super().__init__(f"{status} {title}. {detail}".rstrip())
        self.status, self.title, self.detail, self.request_id = status, title, detail, request_id


class Overloaded(ServiceError):
    """503 to the last: too much work is waiting, or the service is starting or stopping."""


class ImageNotice(UserWarning):
    """Warning that the service chose or changed something of an image, such as one of several channels."""


class Waits:
    """The waits between the attempts at one request."""

    def __init__(self, retries: int, seconds: float, retry_refused: bool) -> None:
        self._left, self._seconds, self._retry_refused = retries, seconds, retry_refused
        self._unasked = FIRST_WAIT_S

    def after(self, outcome: Outcome) -> float | None:
        """Seconds until the next attempt, None if there is none to be."""
        if not self._left or not self._may_pass(outcome):
            return None
        wait = self._asked(outcome) * (1 + random.uniform(0, JITTER))  # noqa: S311 - nothing to guess
        self._left -= 1
        self._seconds -= wait
        return wait if self._seconds >= 0 else None

    def _may_pass(self, outcome: Outcome) -> bool:
        if isinstance(outcome, httpx.Response):
            return outcome.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        return self._retry_refused or not isinstance(outcome, httpx.ConnectError)

    def _asked(self, outcome: Outcome) -> float:
        """Seconds that the service asks for, or else ours."""
        asked = outcome.headers.get("retry-after", "") if isinstance(outcome, httpx.Response) else ""
        if asked.isdecimal():
            return float(asked)
        self._unasked *= 2
        return self._unasked / 2


def segment_call(
    image: Pixels | File,
    output: str,
    threshold: float | None,
    class_index: int,
    channel: str | int | None,
    min_area: int | None,
    model: str | None,
) -> Call:
    """Raises ValueError, OSError."""
    parameters: dict[str, Any] = {"output": output, "class": class_index}
    parameters |= {} if threshold is None else {"threshold": threshold}
    parameters |= {} if channel is None else {"channel": channel}
    parameters |= {} if min_area is None else {"min_area": min_area}
    parameters |= {} if model is None else {"model": model}
    return {"method": "POST", "url": "/segment", "params": parameters, "files": {"file": _to_file(image)}}


def labels_call(image: Pixels | File, label: Pixels | File, name: str | None, model: str | None) -> Call:
    """Raises ValueError, OSError."""
    files = {"image": _to_file(image), "label": _to_file(label)}
    fields = {field: value for field, value in (("name", name), ("model", model)) if value is not None}
    return {"method": "POST", "url": "/labels", "files": files, "data": fields}


def _to_file(image: Pixels | File) -> tuple[str, bytes]:
    """Name and content."""
    if isinstance(image, bytes):
        return "image", image
    if not isinstance(image, np.ndarray):
        return Path(image).name, Path(image).read_bytes()
    if (
        image.dtype not in (np.uint8, np.uint16)
        or image.size == 0
        or image.ndim < 2
        or image.shape[2:] not in _CHANNELS
    ):
        raise ValueError(f"an image is H x W or H x W x 1, 3 or 4, uint8 or uint16, not {image.shape} {image.dtype}")
    return "image.png", encode_png(image[:, :, 0] if image.shape[2:] == (1,) else image)


def settle(outcome: Outcome) -> httpx.Response:
    """Raises ServiceError, httpx.TransportError."""
    if not isinstance(outcome, httpx.Response):
        raise with_hint(outcome)
    if outcome.is_success:
        return outcome
    is_problem = outcome.headers.get("content-type", "").startswith("application/problem+json")
    hint = {"title": outcome.reason_phrase, "detail": proxy_hint(str(outcome.request.url))}
    problem = outcome.json() if is_problem else hint
    kind = Overloaded if outcome.status_code == HTTPStatus.SERVICE_UNAVAILABLE else ServiceError
    told = (str(problem.get(name, "")) for name in ("title", "detail", "request_id"))
    raise kind(outcome.status_code, *told)


def read_result(response: httpx.Response, output: str) -> NDArray[Any] | list[NDArray[Any]] | dict[str, Any] | bytes:
    """Reads the result that `Client.segment` returns."""
    if notice := response.headers.get("x-notice"):
        warnings.warn(notice, ImageNotice, stacklevel=4)
    if output in ("geojson", "coco"):
        return read_json(response)
    if output == "table":
        return read_table(response.text)
    if output == "rois":
        return response.content
    if response.content.startswith(START):
        return _scaled(decode_png(response.content), output)
    return [_scaled(page, output) for page in _tiff_pages(response.content)]


def read_table(text: str) -> dict[str, NDArray[Any]]:
    """Reads a CSV file: whole numbers, floating point, True and False, or text for each column."""
    names, *rows = csv.reader(StringIO(text))
    return {name: _column([row[index] for row in rows]) for index, name in enumerate(names)}


def _column(texts: list[str]) -> NDArray[Any]:
    if texts and set(texts) <= {"true", "false"}:
        return np.array([text == "true" for text in texts])
    for kind in (np.int64, np.float64):
        try:
            return np.array(texts, kind)
        except ValueError:
            continue
    return np.array(texts, np.str_)


def _scaled(page: NDArray[Any], output: str) -> NDArray[Any]:
    return page / np.float32(65535) if output == "probability" else page


def _tiff_pages(data: bytes) -> list[NDArray[Any]]:
    """The pages of a TIFF. Raises ImportError if tifffile or imagecodecs is not installed."""
    try:
        import imagecodecs  # noqa: F401 - tifffile needs it for LZW
        import tifffile
    except ImportError as error:
        raise ImportError(
            "The answer is a TIFF of several pages, and tifffile or imagecodecs, which read it, is not installed: "
            "install both, or send the pages as arrays with segment_stack."
        ) from error
    with tifffile.TiffFile(BytesIO(data)) as file:
        return [page.asarray() for page in file.pages]


def read_json(response: httpx.Response) -> dict[str, Any]:
    """The answer, which is an object."""
    content: dict[str, Any] = response.json()
    return content


def read_models(response: httpx.Response) -> list[dict[str, Any]]:
    """Reads the result that `Client.models` returns."""
    models: list[dict[str, Any]] = response.json()["models"]
    return models


def is_ready(outcome: Outcome) -> bool:
    """Raises ServiceError if it is no such service."""
    if not isinstance(outcome, httpx.Response) or outcome.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        return False
    return settle(outcome).is_success
