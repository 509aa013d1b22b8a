"""The engine as the service makes it, run in a loop, with nothing around it: what the service is measured against.

A line of JSON on stdin, the arguments of `BareEngine.run`, gives one on stdout; between them the process sleeps.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.peers.net import load_segmenter
from model.images.decoding import decode_image
from model.segmenter import ImageTask, Segmenter
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
        wanted = {"batch": batch, "at_once": at_once, "seconds": seconds}
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
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield BareEngine(process)
    finally:
        end(process)


def main() -> None:
    """The process, from inside."""
    segmenter = load_segmenter()
    task = segmenter.task(decode_image(Path(sys.argv[1]).read_bytes()))
    print(json.dumps({"streams": segmenter.engine.streams}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_run(segmenter, task, **json.loads(line))), flush=True)


def _run(segmenter: Segmenter, task: ImageTask, batch: int, at_once: int, seconds: float) -> Times:
    with ThreadPoolExecutor(at_once) as threads:
        loops = [threads.submit(_loop, segmenter, task, batch, seconds) for _ in range(at_once)]
        times = [loop.result() for loop in loops]
    return {
        "images_per_s": sum(batch / statistics.mean(each) for each in times),
        "ms": 1000 * statistics.median(second for each in times for second in each),
    }


def _loop(segmenter: Segmenter, task: ImageTask, batch: int, seconds: float) -> list[float]:
    """Seconds of each run."""
    tile = task.tiles[0]
    stacked = np.stack([task.cut(tile).to_input()] * batch)
    segmenter.engine.run(stacked, tile.kept)  # not measured: a shape's first run takes longer
    times: list[float] = []
    while not times or sum(times) < seconds:
        started = time.perf_counter()
        segmenter.engine.run(stacked, tile.kept)
        times.append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()
