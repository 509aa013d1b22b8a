"""Jobs done on this machine: several are on their way at once, each in a thread.

So the engine does not wait for decoding and encoding.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from itertools import islice
from typing import Any

import cv2
from numpy.typing import NDArray

from model.engines.engine import Array
from model.outputs.output import OutputSpec, renderer
from model.predict.jobs import Job, OnOutcome, Outcome, Room, Stopped
from model.segmenter import Segmenter

# Jobs on their way besides those that the engine computes: one to be decoded, one to be encoded.
BESIDE_ENGINE = 2

# Largest number of pixels in flight. A mask takes about 3 bytes a pixel, objects more.
MOST_PIXELS = 64_000_000


class Pipeline:
    """A `Runner`, and the `Bench` of its jobs: as many compute at once as the engine has streams."""

    def __init__(self, segmenter: Segmenter, output_spec: OutputSpec) -> None:
        self.segmenter, self.output_spec = segmenter, output_spec
        self.threads = segmenter.engine.streams + BESIDE_ENGINE
        self._streams = threading.BoundedSemaphore(segmenter.engine.streams)
        self._room = Room(MOST_PIXELS)
        self._render = renderer(output_spec, segmenter.description)
        self._stopped = threading.Event()
        cv2.setNumThreads(0)  # it works within its caller's thread: here there are enough of them

    def run(self, jobs: Sequence[Job], on_outcome: OnOutcome) -> None:
        waiting, running = iter(jobs), dict[Future[Outcome], Job]()
        with ThreadPoolExecutor(self.threads, thread_name_prefix="job") as pool:
            try:
                while self._submit(pool, waiting, running):
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        with suppress(Stopped):
                            on_outcome(running.pop(done), done.result())
            except BaseException:
                self.stop()
                raise

    def _submit(self, pool: ThreadPoolExecutor, waiting: Iterator[Job], running: dict[Future[Outcome], Job]) -> int:
        """Submits some of the waiting jobs, because a volume may have millions. Returns the number of running jobs."""
        if not self._stopped.is_set():
            for job in islice(waiting, 2 * self.threads - len(running)):
                running[pool.submit(self.make, job)] = job
        return len(running)

    def stop(self) -> None:
        self._stopped.set()

    def make(self, job: Job) -> Outcome:
        """Does a job, in this thread. Raises Stopped."""
        self.go_on()
        try:
            return Outcome(job.do(self))
        except MemoryError:
            return Outcome(problem="too large for this machine's memory")
        except OSError as error:
            return Outcome(problem=error.strerror or str(error))
        except (ValueError, RuntimeError, cv2.error) as error:  # of the image, the engine, the encoder
            return Outcome(problem=str(error).partition("\n")[0])

    def go_on(self) -> None:
        if self._stopped.is_set():
            raise Stopped

    def render(self, probabilities: Array) -> NDArray[Any]:
        self.go_on()
        return self._render(probabilities)

    def room(self, pixels: int) -> AbstractContextManager[None]:
        return self._room.taken(pixels)

    def engine(self) -> AbstractContextManager[object]:
        return self._streams
