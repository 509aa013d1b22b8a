"""`Client`, which takes and returns arrays, and `AsyncClient`, whose methods are the same ones, awaited."""

import asyncio
import time
from functools import cached_property
from typing import Any, Literal, Self, TypeAlias, overload

import httpx
from numpy.typing import NDArray

from app.client.exchange import (
    BROKEN,
    MODEL,
    READY,
    Call,
    File,
    Outcome,
    Overloaded,
    ServiceError,
    Waits,
    is_ready,
    read_json,
    read_result,
    segment_call,
    settle,
)
from model.preprocessing import Pixels

__all__ = ["AsyncClient", "Client", "Overloaded", "ServiceError"]

Picture: TypeAlias = Literal["mask", "probability", "instances", "overlay"]
Document: TypeAlias = Literal["geojson", "coco"]

# A large image may take minutes to compute, but none to connect for. Seconds.
TIMEOUT_S, CONNECT_TIMEOUT_S = 600.0, 10.0

# How often, and how many seconds in all, a service that is busy is waited for.
RETRIES, LONGEST_WAIT_S = 5, 120.0


class _Connection:
    """What both clients have: whom they ask, and how long they are patient."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout: float = TIMEOUT_S,
        retries: int = RETRIES,
        longest_wait: float = LONGEST_WAIT_S,
        retry_refused: bool = False,
    ) -> None:
        """At 503 a request is sent again when `Retry-After` says, and soon if the connection broke off.

        `retries`, `longest_wait`: so many times, and after so many seconds of waiting, at most. `retry_refused`: also
        when nobody listens at the URL, for a service that is about to start. `timeout`: seconds of silence from the
        service after which httpx.TimeoutException is raised.
        """
        self._options: dict[str, Any] = {
            "base_url": url,
            "headers": {"Authorization": f"Bearer {api_key}"} if api_key else {},
            "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT_S)),
        }
        self._patience = retries, longest_wait, retry_refused


class Client(_Connection):
    """Asks a service at a URL such as "http://localhost:8000". Use it in a `with` block, or `close` it.

    Every method raises ServiceError (Overloaded if it is one that may pass), httpx.TransportError if the service cannot
    be reached.
    """

    @overload
    def segment(
        self, image: Pixels, output: Picture = "mask", threshold: float | None = None, class_index: int = 0
    ) -> NDArray[Any]: ...
    @overload
    def segment(
        self, image: File, output: Picture = "mask", threshold: float | None = None, class_index: int = 0
    ) -> NDArray[Any] | list[NDArray[Any]]: ...
    @overload
    def segment(
        self, image: Pixels | File, output: Document, threshold: float | None = None, class_index: int = 0
    ) -> dict[str, Any]: ...
    def segment(
        self,
        image: Pixels | File,
        output: Picture | Document = "mask",
        threshold: float | None = None,
        class_index: int = 0,
    ) -> Any:
        """What a service makes of an image: H x W or H x W x {1, 3, 4} (RGB order), uint8 or uint16, or a file.

        Gives H x W for "mask" (uint8: 0 and 255, or class indices), "probability" (float32, 0..1) and "instances"
        (uint16: 0 is background), H x W x 3 uint8 RGB for "overlay"; a list of them for a TIFF of several pages, which
        may differ in size; the parsed JSON for "geojson" and "coco".

        `threshold`: 0 < t < 1, default the one stored with the weights. `class_index`: whose probability. Also raises
        ValueError for an array that is no image, OSError for a file that cannot be read.
        """
        return read_result(self._send(segment_call(image, output, threshold, class_index)), output)

    def model(self) -> dict[str, Any]:
        """What is served: name, sha256, architecture, threshold, engine, ..."""
        return read_json(self._send(MODEL))

    def ready(self) -> bool:
        """Whether the service takes images now."""
        return is_ready(self._try(READY))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(**self._options)

    def _send(self, call: Call) -> httpx.Response:
        waits = Waits(*self._patience)
        outcome = self._try(call)
        while (wait := waits.after(outcome)) is not None:
            time.sleep(wait)
            outcome = self._try(call)
        return settle(outcome)

    def _try(self, call: Call) -> Outcome:
        try:
            return self._http.request(**call)
        except BROKEN as error:
            return error


class AsyncClient(_Connection):
    """As `Client`, awaited; `async with`, or `aclose`. Images are read, encoded and decoded in threads."""

    @overload
    async def segment(
        self, image: Pixels, output: Picture = "mask", threshold: float | None = None, class_index: int = 0
    ) -> NDArray[Any]: ...
    @overload
    async def segment(
        self, image: File, output: Picture = "mask", threshold: float | None = None, class_index: int = 0
    ) -> NDArray[Any] | list[NDArray[Any]]: ...
    @overload
    async def segment(
        self, image: Pixels | File, output: Document, threshold: float | None = None, class_index: int = 0
    ) -> dict[str, Any]: ...
    async def segment(
        self,
        image: Pixels | File,
        output: Picture | Document = "mask",
        threshold: float | None = None,
        class_index: int = 0,
    ) -> Any:
        """See `Client.segment`."""
        call = await asyncio.to_thread(segment_call, image, output, threshold, class_index)
        return await asyncio.to_thread(read_result, await self._send(call), output)

    async def model(self) -> dict[str, Any]:
        """See `Client.model`."""
        return read_json(await self._send(MODEL))

    async def ready(self) -> bool:
        """See `Client.ready`."""
        return is_ready(await self._try(READY))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._options)

    async def _send(self, call: Call) -> httpx.Response:
        waits = Waits(*self._patience)
        outcome = await self._try(call)
        while (wait := waits.after(outcome)) is not None:
            await asyncio.sleep(wait)
            outcome = await self._try(call)
        return settle(outcome)

    async def _try(self, call: Call) -> Outcome:
        try:
            return await self._http.request(**call)
        except BROKEN as error:
            return error
