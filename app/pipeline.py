"""The way of an image through the service: header check, decoding, queue, engine, encoding."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from app.capacity import QueueFull
from app.decode import decode, image_problems, measure
from app.net_suggestions import suggest_nets
from app.problems import Problem, engine_problem, overload_problem
from app.request_progress import RequestProgress
from app.scheduler import EngineFailed
from app.served_net import ServedNet
from app.served_nets import ServedNets
from app.service import Service, service_of
from app.upload import Upload
from model.images.tiff_axes import Plane
from model.inputs.net_input import NetInput
from model.outputs.limits import OutputError
from model.outputs.output import File, OutputSpec, renderer, to_file
from model.segmenter import ImageRefused, ImageTask, Render

# Longer names of channels are replaced by numbers, because clients and proxies limit the size of headers.
_LONGEST_CHANNELS = 2000

T = TypeVar("T")
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Result(Generic[T]):
    """The answer, how long each stage took (seconds: decode, queue, infer, encode), and the input if it was a file."""

    answer: T
    stages: dict[str, float]
    given: NetInput | None = None


async def _list_progress(request: Request) -> AsyncIterator[RequestProgress]:
    with service_of(request).progress.listed(request.state.request_id) as progress:
        yield progress


ListedProgress: TypeAlias = Annotated[RequestProgress, Depends(_list_progress)]
"""The progress of a request, which the service lists until the answer is sent."""


@asynccontextmanager
async def deadline(service: Service) -> AsyncIterator[None]:
    """Gives up what is in it after SEGMENT_DEADLINE_S. Raises Problem, 504."""
    try:
        async with asyncio.timeout(service.settings.deadline_s):
            yield
    except TimeoutError as error:
        detail = f"Not done within {service.settings.deadline_s:g} s."
        raise Problem(HTTPStatus.GATEWAY_TIMEOUT, detail) from error


def headers(net: ServedNet, result: Result[Any]) -> dict[str, str]:
    """Returns the headers that name the weights, report the time of each stage, and say how the input was read."""
    timing = ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in result.stages.items())
    about_input = _input_headers(result.given) if result.given else {}
    return {"X-Model": net.label, "Server-Timing": timing, **about_input}


def _input_headers(given: NetInput) -> dict[str, str]:
    """Returns what a client should know of how its file was read; names of channels may contain any sign."""
    notice = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in " ".join(given.notices))
    pages = ",".join(_ranges(given.file_pages))
    size = given.pixel_size
    found = {
        "X-Notice": notice[:1000],
        "X-Channels": _channel_names(given.channels),
        "X-Channel-Pages": _channel_pages(given.channel_pages),
        "X-Pages": pages,
        "X-Places": _places(given.places) if len(given.places) > 1 else "",
        "X-Pixel-Size": f"{size.x!r},{size.y!r}" if size else "",
        "X-Spacing": f"{size.z!r}" if size and size.z else "",
    }
    return {name: text for name, text in found.items() if text}


def _channel_names(names: Sequence[str]) -> str:
    """Returns URL-encoded names of channels, their numbers if the names are too long, "" if there is no choice."""
    encoded = ",".join(quote(name, safe="") for name in names)
    return encoded if len(encoded) <= _LONGEST_CHANNELS else ",".join(str(index) for index in range(len(names)))


def _channel_pages(channels: Sequence[tuple[str, Sequence[int | None]]]) -> str:
    """Returns the URL-encoded title of each channel with its pages in the file; "" if there are too many."""
    encoded = ";".join(f"{quote(title, safe='')}={','.join(_ranges(pages))}" for title, pages in channels)
    return encoded if len(encoded) <= _LONGEST_CHANNELS else ""


def _places(places: Sequence[Plane]) -> str:
    """Returns the section z and the time t of each page as one number: "z5:" z + 5 t, "t5:" t + 5 z."""
    sections, times = (1 + max(getattr(place, axis) for place in places) for axis in "zt")
    by_section = [place.z + sections * place.t for place in places]
    by_time = [place.t + times * place.z for place in places]
    return min(f"z{sections}:{','.join(_ranges(by_section))}", f"t{times}:{','.join(_ranges(by_time))}", key=len)


def _ranges(numbers: Sequence[int | None]) -> Iterator[str]:
    """Yields numbers as "first-last/step", so that the header of a long stack is short; "-" stands for None."""
    at = 0
    while at < len(numbers):
        first = numbers[at]
        end = at + 1
        if first is None:
            yield "-"
        else:
            following = numbers[end] if end < len(numbers) else None
            step = following - first if following is not None and following > first else 0
            while step and end < len(numbers) and numbers[end] == first + (end - at) * step:
                end += 1
            yield f"{first}-{first + (end - at - 1) * step}/{step}" if end - at > 2 else str(first)
            end = end if end - at > 2 else at + 1
        at = end


async def segment(
    request: Request,
    progress: RequestProgress,
    nets: ServedNets,
    net: ServedNet,
    upload: Upload,
    output_spec: OutputSpec,
    channel: str,
) -> Result[File]:
    """Makes the requested output of a channel and frees the upload's bytes. Raises Problem, ClientDisconnect.

    `nets`: all served nets; `net` makes the output.
    """
    service = service_of(request)
    read: list[NetInput] = []

    def prepare() -> tuple[NetInput, Sequence[ImageTask]]:
        given, tasks = _prepare(service, net, upload.take(), output_spec, channel)
        read.append(replace(suggest_nets(nets, net, given), pages=(), file=None))
        return given, tasks

    def encode(given: NetInput, tasks: Sequence[ImageTask]) -> File:
        return _encode(net, output_spec, given, tasks, upload.name)

    return replace(await answer(request, progress, net, prepare, encode), given=read[0])


async def answer(
    request: Request,
    progress: RequestProgress,
    net: ServedNet,
    prepare: Callable[[], tuple[Kept, Sequence[ImageTask]]],
    encode: Callable[[Kept, Sequence[ImageTask]], T],
) -> Result[T]:
    """The way of a request whose body has been read: `prepare` makes it tasks, the net runs them, `encode` answers.

    Both run off the event loop; what `prepare` gives besides the tasks is kept for `encode`. Raises what they raise,
    Problem and ClientDisconnect.
    """
    return await _unless_gone(request, _compute(service_of(request), progress, net, prepare, encode))


async def _compute(
    service: Service,
    progress: RequestProgress,
    net: ServedNet,
    prepare: Callable[[], tuple[Kept, Sequence[ImageTask]]],
    encode: Callable[[Kept, Sequence[ImageTask]], T],
) -> Result[T]:
    reserved = time.perf_counter()
    progress.begin("decoding")
    try:
        kept, tasks = await service.run_in_pool(prepare)
        if not net.scheduler.loaded:
            progress.begin("loading")
        job = await net.scheduler.compute(*tasks, on_queued=progress.follow)
    except QueueFull as error:
        service.metrics.rejected.labels("overload").inc()
        raise overload_problem(error.retry_after_s) from error
    except EngineFailed as error:
        raise engine_problem() from error
    inferred = time.perf_counter()
    progress.begin("encoding")
    answer = await service.run_in_pool(_finish, service, encode, kept, tasks)
    started = job.started or inferred
    stages = {
        "decode": job.submitted - reserved,
        "queue": started - job.submitted,
        "infer": inferred - started,
        "encode": time.perf_counter() - inferred,
    }
    for stage, seconds in stages.items():
        service.metrics.stages.labels(stage).observe(seconds)
    return Result(answer, stages)


def _finish(
    service: Service,
    encode: Callable[[Kept, Sequence[ImageTask]], T],
    kept: Kept,
    tasks: Sequence[ImageTask],
) -> T:
    answer = encode(kept, tasks)
    service.trimmer.answered()
    return answer


def _prepare(
    service: Service, net: ServedNet, data: bytes, output_spec: OutputSpec, channel: str
) -> tuple[NetInput, Sequence[ImageTask]]:
    """Pages and their tiles; while they are decoded they take their room in the queue. Raises Problem, QueueFull."""
    file = measure(data, service.settings.max_pixels)
    with net.reserved(file.header.pixels):
        given = decode(file, net.description, channel)
    if output_spec.measures:
        given = replace(given, file=file)
    return given, make_tasks(net, given, renderer(output_spec, net.description))


def make_tasks(net: ServedNet, given: NetInput, render: Render) -> list[ImageTask]:
    """A task for each page. Raises Problem, 422, if the net takes no such pages."""
    try:
        return [net.task(page, render, given.bits) for page in given.pages]
    except ImageRefused as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    except ValueError as error:
        channels = net.description.architecture.in_channels
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"The net takes images of {channels} channels.") from error


def _encode(net: ServedNet, output_spec: OutputSpec, given: NetInput, tasks: Sequence[ImageTask], name: str) -> File:
    try:
        with image_problems():
            return to_file(output_spec, net.description, given, [task.result for task in tasks], name)
    except OutputError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Returns the result of `work`. Cancels it and raises ClientDisconnect if the client disconnects first.

    The body must have been read.
    """
    working, gone = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return await working
    finally:
        working.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
