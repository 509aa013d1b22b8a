"""The jobs of bulk prediction. One thread does each job, from reading to writing, here or on a cluster."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from model.atomic_write import write_whole
from model.engines.engine import Array
from model.images.decoding import ImageFile
from model.images.image_errors import ImageError
from model.inputs.net_input import read_input
from model.outputs.output import OutputSpec, to_file
from model.segmenter import Segmenter

# OpenCV's own limit for an image.
LARGEST_IMAGE = 2**30


class Stopped(Exception):
    """The job was given up."""


class Bench(Protocol):
    """The environment of a job, shared by all jobs that run in one process."""

    segmenter: Segmenter
    output_spec: OutputSpec

    def go_on(self) -> None:
        """Raises Stopped if all jobs are given up."""
        ...

    def render(self, probabilities: Array) -> NDArray[Any]:
        """The wanted output's `Render`; raises Stopped."""
        ...

    def room(self, pixels: int) -> AbstractContextManager[None]:
        """Waits until this number of pixels fits into memory."""
        ...

    def engine(self) -> AbstractContextManager[object]:
        """Waits for a stream of the segmenter's engine."""
        ...


class Job(Protocol):
    """A picklable, idempotent unit of work."""

    @property
    def steps(self) -> int:
        """Units by which the job advances a progress bar."""
        ...

    def do(self, bench: Bench) -> Any:
        """Raises what images, disks and engines raise; Stopped."""
        ...


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job: its picklable value, or the reason of its failure in one line."""

    value: Any = None
    problem: str | None = None


OnOutcome: TypeAlias = Callable[[Job, Outcome], None]


class Runner(Protocol):
    """Does jobs, several at once."""

    def run(self, jobs: Sequence[Job], on_outcome: OnOutcome) -> None:
        """`on_outcome` gets each job when it is done; in this thread, and not if it was given up because of `stop`."""
        ...

    def stop(self) -> None:
        """Gives up all jobs, those that compute at the next tile. Signal handlers may call it."""
        ...


@dataclass(frozen=True)
class ImageJob:
    """An image file, all its pages, becomes a result file."""

    image: Path
    target: Path
    """Without its suffix, which depends on the output and the number of pages."""
    channel: str = ""
    """See `read_input`."""

    steps = 1

    def do(self, bench: Bench) -> tuple[str, ...]:
        """Returns sentences about how the image was read.

        Raises ImageError, ValueError, RuntimeError, cv2.error, OSError, MemoryError, Stopped.
        """
        file = ImageFile.read(self.image.read_bytes())
        header = file.header
        if header.width * header.height > LARGEST_IMAGE:
            size = f"{header.width} x {header.height}"
            raise ImageError(f"The image has {size} pixels, more than the {LARGEST_IMAGE} that can be decoded.")
        with bench.room(header.pixels):
            description = bench.segmenter.description
            given = read_input(file, description, self.channel)
            if bench.output_spec.measures:
                given = replace(given, file=file)
            del file
            with bench.engine():
                rendered = [bench.segmenter.render(page, bench.render, given.bits) for page in given.pages]
            result = to_file(bench.output_spec, description, given, rendered, self.image.name)
        write_whole(self.target.with_name(self.target.name + result.suffix), result.data)
        return given.notices


class Room:
    """A semaphore that counts units, such as pixels. A request above the limit is granted when it is the only one."""

    def __init__(self, size: int) -> None:
        self._size, self._taken = size, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Waits until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._size)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()
