"""The engine as the service makes it, run in a loop, with nothing around it: what the service is measured against.

It also runs from files to files, with decoding and encoding, but without HTTP. A line of JSON on stdin, the arguments
of `BareEngine.run`, gives one on stdout; between them the process sleeps.
"""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.peers.net import load_segmenter
from model.images.decoding import decode_image
from model.images.encoding import encode_png
from model.segmenter import Segmenter
from tests.support.servers import ROOT, ServerError, end

Times = dict[str, float]


class BareEngine:
    """The process, from outside."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Waits until it is ready. Raises ServerError."""
        self._process = process
        self.streams = round(self._read()["streams"])
        """How many runs at once the service keeps going."""

    def run(self, batch: int, at_once: int, seconds: float) -> Times:
        """Runs batches of `batch` images in `at_once` threads; returns `images_per_s`, and `ms`, the median of a batch.

        Raises ServerError.
        """
        return self._ask({"batch": batch, "at_once": at_once, "seconds": seconds})

    def run_files(self, at_once: int, seconds: float) -> Times:
        """Makes masks from PNG to PNG in `at_once` threads, while as many runs as the service's use the engine.

        Returns `images_per_s`, and `ms`, the median of a file. Raises ServerError.
        """
        return self._ask({"at_once": at_once, "seconds": seconds})

    def _ask(self, wanted: dict[str, float]) -> Times:
        print(json.dumps(wanted), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> Times:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise ServerError("the bare engine has ended")
        times: Times = json.loads(line)
        return times


@contextmanager
def bare_engine(image: Path) -> Iterator[BareEngine]:
    """The process, ready. Raises ServerError."""
    command = [sys.executable, "-m", "benchmarks.peers.bare_engine", str(image.resolve())]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield BareEngine(process)
        finally:
            end(process)


def main() -> None:
    """The process, from inside."""
    segmenter = load_segmenter()
    data = Path(sys.argv[1]).read_bytes()
    print(json.dumps({"streams": segmenter.engine.streams}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        make_run = _engine_run(segmenter, data, wanted["batch"]) if "batch" in wanted else _file_run(segmenter, data)
        print(json.dumps(_run(make_run, wanted.get("batch", 1), wanted["at_once"], wanted["seconds"])), flush=True)


def _engine_run(segmenter: Segmenter, data: bytes, batch: int) -> Callable[[], object]:
    """A run of the engine, without decoding and encoding."""
    task = segmenter.task(decode_image(data))
    tile = task.tiles[0]
    stacked = np.stack([task.cut(tile).to_input()] * batch)
    return lambda: segmenter.engine.run(stacked, tile.kept)


def _file_run(segmenter: Segmenter, data: bytes) -> Callable[[], object]:
    """A run from the bytes of an image to those of its mask."""
    streams = threading.BoundedSemaphore(segmenter.engine.streams)

    def run() -> bytes:
        image = decode_image(data)
        with streams:
            mask = segmenter.mask(image)
        return encode_png(mask)

    return run


def _run(run: Callable[[], object], images: int, at_once: int, seconds: float) -> Times:
    """`images`: those of each run."""
    with ThreadPoolExecutor(at_once) as threads:
        loops = [threads.submit(_loop, run, seconds) for _ in range(at_once)]
        times = [loop.result() for loop in loops]
    return {
        "images_per_s": sum(images / statistics.mean(each) for each in times),
        "ms": 1000 * statistics.median(second for each in times for second in each),
    }


def _loop(run: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each run."""
    run()  # not measured: a shape's first run takes longer
    times: list[float] = []
    while not times or sum(times) < seconds:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()
