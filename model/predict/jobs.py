"""What bulk prediction consists of: jobs, each done by one thread from reading to writing, here or elsewhere."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from model.atomic_write import write_whole
from model.engines.engine import Array
from model.images.decoding import decode_pages
from model.images.headers import read_header
from model.images.image_errors import ImageError
from model.outputs.output import OutputSpec, to_file
from model.segmenter import Segmenter

# OpenCV's own limit for an image.
LARGEST_IMAGE = 2**30


class Stopped(Exception):
    """The job was given up."""


class Bench(Protocol):
    """What a job finds where it is done; it is shared by the jobs that are done there at once."""

    segmenter: Segmenter
    output_spec: OutputSpec

    def go_on(self) -> None:
        """Raises Stopped if all jobs are given up."""
        ...

    def render(self, probabilities: Array) -> NDArray[Any]:
        """The wanted output's `Render`; raises Stopped."""
        ...

    def room(self, pixels: int) -> AbstractContextManager[None]:
        """Waits until so many pixels more may be held in memory."""
        ...

    def engine(self) -> AbstractContextManager[object]:
        """Waits for a stream of the segmenter's engine."""
        ...


class Job(Protocol):
    """Something to be done, which can be pickled. Done twice, it leaves what it leaves when it is done once."""

    @property
    def steps(self) -> int:
        """How far a progress bar goes on when it is done."""
        ...

    def do(self, bench: Bench) -> Any:
        """Raises what images, disks and engines raise; Stopped."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its value, which can be pickled, or why it failed, in one line."""

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

    steps = 1

    def do(self, bench: Bench) -> None:
        """Raises ImageError, ValueError, RuntimeError, cv2.error, OSError, MemoryError, Stopped."""
        data = self.image.read_bytes()
        header = read_header(data)
        if header.width * header.height > LARGEST_IMAGE:
            size = f"{header.width} x {header.height}"
            raise ImageError(f"The image has {size} pixels, more than the {LARGEST_IMAGE} that can be decoded.")
        with bench.room(header.pixels):
            pages = decode_pages(data)
            del data
            with bench.engine():
                rendered = [bench.segmenter.render(page, bench.render) for page in pages]
            file = to_file(bench.output_spec, bench.segmenter.description, pages, rendered, self.image.stem)
        write_whole(self.target.with_name(self.target.name + file.suffix), file.data)


class Room:
    """Room for so many of something at once, pixels say; what is larger than all of it has it to itself."""

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
