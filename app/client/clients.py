"""`Client`, which takes and returns arrays, and `AsyncClient`, whose methods are the same ones, awaited."""

import asyncio
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, Self, TypeAlias, overload

import httpx
import numpy as np
from numpy.typing import NDArray

from .exchange import (
    BROKEN,
    MODEL,
    MODELS,
    READY,
    Call,
    File,
    Outcome,
    Overloaded,
    ServiceError,
    Waits,
    is_ready,
    labels_call,
    read_json,
    read_models,
    read_result,
    segment_call,
    settle,
)
from .png_codec import Pixels

__all__ = ["AsyncClient", "Client", "Overloaded", "ServiceError"]

Picture: TypeAlias = Literal["mask", "probability", "instances", "overlay"]
Document: TypeAlias = Literal["geojson", "coco"]

# A large image may take minutes to compute, but none to connect for. Seconds.
TIMEOUT_S, CONNECT_TIMEOUT_S = 600.0, 10.0

# How often, and how many seconds in all, a service that is busy is waited for.
RETRIES, LONGEST_WAIT_S = 5, 120.0


class _Connection:
    """The options that both clients share: the service's address, and the limits of retries."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout: float = TIMEOUT_S,
        retries: int = RETRIES,
        longest_wait: float = LONGEST_WAIT_S,
        retry_refused: bool = False,
    ) -> None:
        """Sets the address and the limits of retries.

        A 503 is retried after `Retry-After`. A broken connection is retried soon.

        Args:
            url: Address of the service.
            api_key: Key that the service asks for.
            timeout: Seconds without data from the service after which httpx.TimeoutException is raised.
            retries: Largest number of retries.
            longest_wait: Largest number of seconds spent waiting between retries.
            retry_refused: True to retry refused connections also, for a service that is about to start.
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
        self,
        image: Pixels,
        output: Picture = "mask",
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> NDArray[Any]: ...
    @overload
    def segment(
        self,
        image: File,
        output: Picture = "mask",
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> NDArray[Any] | list[NDArray[Any]]: ...
    @overload
    def segment(
        self,
        image: Pixels | File,
        output: Document,
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> dict[str, Any]: ...
    @overload
    def segment(
        self,
        image: Pixels | File,
        output: Literal["table"],
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> dict[str, NDArray[Any]]: ...
    @overload
    def segment(
        self,
        image: Pixels | File,
        output: Literal["rois"],
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> bytes: ...
    def segment(
        self,
        image: Pixels | File,
        output: Picture | Document | Literal["table", "rois"] = "mask",
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> Any:
        """Segments an image.

        Args:
            image: H x W or H x W x {1, 3, 4} (RGB order), uint8 or uint16; or a path, or the bytes of an image file.
            output: Name of the output.
            threshold: Lowest probability of the foreground, 0 < t < 1; None for the one stored with the weights.
            class_index: The class whose probability is returned.
            channel: Number or name of the channel of an image that has several; None for the first one.
            min_area: Objects with fewer pixels are dropped; None for the number stored with the weights.
            model: Name of the net, see `models`; None for the default.

        Returns:
            "mask" is H x W uint8 (0 and 255, or class indices). "probability" is H x W float32, 0..1. "instances" is
            H x W uint16, 0 is background. "overlay" is H x W x 3 uint8 RGB. A TIFF of several pages gives a list of
            arrays, which may differ in size. The outputs "geojson" and "coco" are the parsed JSON. A "table" has an
            array for each column, which `pandas.DataFrame` takes as it is. The output "rois" is a ZIP file.

        Raises:
            ServiceError: The service refused the request.
            ValueError: The array is not an image.
            OSError: The file cannot be read.
            ImportError: The answer is a TIFF of several pages, and tifffile is not installed.

        Warns:
            ImageNotice: The service chose or changed something, such as one of several channels.
        """
        return read_result(
            self._send(segment_call(image, output, threshold, class_index, channel, min_area, model)), output
        )

    def segment_stack(
        self,
        stack: Sequence[Pixels] | NDArray[Any],
        output: Picture = "mask",
        threshold: float | None = None,
        class_index: int = 0,
        model: str | None = None,
    ) -> NDArray[Any]:
        """Segments the pages of a stack, one request each, as `segment` does.

        Args:
            stack: N pages of one size, H x W or H x W x {1, 3, 4} each, uint8 or uint16.
            output: Name of the output.
            threshold: As for `segment`.
            class_index: As for `segment`.
            model: As for `segment`.

        Returns:
            N x H x W, or N x H x W x 3 for "overlay".
        """
        return np.stack([self.segment(page, output, threshold, class_index, model=model) for page in stack])

    def save_labels(
        self, image: Pixels | File, label: Pixels | File, name: str | None = None, model: str | None = None
    ) -> dict[str, Any]:
        """Saves an image and its corrected label as training data.

        A later label of the same image replaces the earlier one. The same label again changes nothing.

        Args:
            image: One page, as for `segment`.
            label: H x W uint8 or uint16, as large as the image: a mask of 0 and 255, object ids or class indices; or a
                path, or the bytes of a PNG or TIFF file.
            name: A name of the image for people, which the service records.
            model: Name of the net whose mask was corrected; None for the default.

        Returns:
            "id" of the pair, "replaced" (True if the image had another label), and "pairs", the number of all pairs.

        Raises:
            ServiceError: The service refused the pair: 404 if it saves none, 507 if its folder is full.
            ValueError: An array is not an image.
            OSError: A file cannot be read.
        """
        return read_json(self._send(labels_call(image, label, name, model)))

    def model(self) -> dict[str, Any]:
        """Returns the default net: name, sha256, architecture, threshold, engine, ..."""
        return read_json(self._send(MODEL))

    def models(self) -> list[dict[str, Any]]:
        """Returns all nets that are served, as `model` does, the default first."""
        return read_models(self._send(MODELS))

    def ready(self) -> bool:
        """Returns True if the service accepts images now."""
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
    """The client for asyncio: the methods of `Client`, awaited. Use `async with`, or call `aclose`.

    Images are read, encoded and decoded in threads.
    """

    @overload
    async def segment(
        self,
        image: Pixels,
        output: Picture = "mask",
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> NDArray[Any]: ...
    @overload
    async def segment(
        self,
        image: File,
        output: Picture = "mask",
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> NDArray[Any] | list[NDArray[Any]]: ...
    @overload
    async def segment(
        self,
        image: Pixels | File,
        output: Document,
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> dict[str, Any]: ...
    @overload
    async def segment(
        self,
        image: Pixels | File,
        output: Literal["table"],
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> dict[str, NDArray[Any]]: ...
    @overload
    async def segment(
        self,
        image: Pixels | File,
        output: Literal["rois"],
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> bytes: ...
    async def segment(
        self,
        image: Pixels | File,
        output: Picture | Document | Literal["table", "rois"] = "mask",
        threshold: float | None = None,
        class_index: int = 0,
        channel: str | int | None = None,
        min_area: int | None = None,
        model: str | None = None,
    ) -> Any:
        """See `Client.segment`."""
        call = await asyncio.to_thread(segment_call, image, output, threshold, class_index, channel, min_area, model)
        return await asyncio.to_thread(read_result, await self._send(call), output)

    async def segment_stack(
        self,
        stack: Sequence[Pixels] | NDArray[Any],
        output: Picture = "mask",
        threshold: float | None = None,
        class_index: int = 0,
        model: str | None = None,
    ) -> NDArray[Any]:
        """See `Client.segment_stack`."""
        return np.stack([await self.segment(page, output, threshold, class_index, model=model) for page in stack])

    async def save_labels(
        self, image: Pixels | File, label: Pixels | File, name: str | None = None, model: str | None = None
    ) -> dict[str, Any]:
        """See `Client.save_labels`."""
        return read_json(await self._send(await asyncio.to_thread(labels_call, image, label, name, model)))

    async def model(self) -> dict[str, Any]:
        """See `Client.model`."""
        return read_json(await self._send(MODEL))

    async def models(self) -> list[dict[str, Any]]:
        """See `Client.models`."""
        return read_models(await self._send(MODELS))

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
