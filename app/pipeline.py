"""The way of an image through the service: header check, decoding, queue, engine, encoding."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.decode import decode, measure
from app.problems import Problem, overload_problem
from app.scheduler import Overloaded
from app.service import Service
from app.upload import Upload
from model.outputs.output import File, OutputError, Wanted, renderer, to_file
from model.preprocessing import Pixels
from model.segmenter import ImageTask

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """The answer's file, and how long each stage took, seconds: decode, queue, infer, encode."""

    file: File
    stages: dict[str, float]


async def segment(request: Request, service: Service, upload: Upload, wanted: Wanted) -> Result:
    """The file that is wanted; the upload's bytes are let go of. Raises Problem, ClientDisconnect."""
    return await _unless_gone(request, _segment(service, upload, wanted))


async def _segment(service: Service, upload: Upload, wanted: Wanted) -> Result:
    decoding = time.perf_counter()
    try:
        images, tasks = await service.in_pool(_prepare, service, upload.take(), wanted)
        job = await service.scheduler.run(*tasks)
    except Overloaded as error:
        service.metrics.rejected.labels("overload").inc()
        raise overload_problem(error.retry_after_s) from error
    inferred = time.perf_counter()
    file = await service.in_pool(_encode, service, wanted, images, tasks, upload.stem)
    started = job.started or inferred
    stages = {
        "decode": job.submitted - decoding,
        "queue": started - job.submitted,
        "infer": inferred - started,
        "encode": time.perf_counter() - inferred,
    }
    for stage, seconds in stages.items():
        service.metrics.stages.labels(stage).observe(seconds)
    return Result(file, stages)


def _prepare(service: Service, data: bytes, wanted: Wanted) -> tuple[Sequence[Pixels], Sequence[ImageTask]]:
    """Pages and their tiles; while they are decoded they take their room in the queue. Raises Problem, Overloaded."""
    header = measure(data, service.settings.max_pixels)
    with service.scheduler.room(header.pixels):
        images = decode(data, header)
    render = renderer(wanted, service.weights.description)
    try:
        return images, [service.segmenter.task(image, render) for image in images]
    except ValueError as error:
        channels = service.weights.description.architecture.in_channels
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"The net takes images of {channels} channels.") from error


def _encode(service: Service, wanted: Wanted, images: Sequence[Pixels], tasks: Sequence[ImageTask], stem: str) -> File:
    try:
        return to_file(wanted, service.weights.description, images, [task.result for task in tasks], stem)
    except OutputError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; cancelled, with ClientDisconnect, if the client leaves first. The body must be read."""
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
