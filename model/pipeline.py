"""The way of image files to result files: read, decoded, computed, encoded, written.

Several images are on their way at once, each in a thread, so that the engine does not wait for decoding and encoding.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray

from model.engines.engine import Array
from model.headers import read_header
from model.image_errors import ImageError
from model.images import decode_pages
from model.outputs.output import Wanted, renderer, to_file
from model.segmenter import Segmenter
from model.whole_file import write_whole

# Images on their way besides those that the engine computes: one to be decoded, one to be encoded.
BESIDE_ENGINE = 2

# Images wait until no more than so many pixels are on their way. A mask takes some 3 bytes a pixel, objects more.
MOST_PIXELS = 64_000_000

# OpenCV's own limit for an image.
LARGEST_IMAGE = 2**30

Seen = Callable[[Path, str | None], None]


class Stopped(Exception):
    """The image was given up."""


class Pipeline:
    """Makes the results that are wanted with a segmenter, as many images at once as its engine has streams."""

    def __init__(self, segmenter: Segmenter, wanted: Wanted) -> None:
        self._segmenter, self._wanted = segmenter, wanted
        self._threads = segmenter.engine.streams + BESIDE_ENGINE
        self._streams = threading.BoundedSemaphore(segmenter.engine.streams)
        self._room = Room(MOST_PIXELS)
        self._stopped = threading.Event()

    def run(self, targets: Mapping[Path, Path], seen: Seen) -> None:
        """From each image to its target, a path without suffix. `seen` gets each when it is done, and why it failed.

        It is called in this thread, and not for images that were given up because of `stop`.
        """
        cv2.setNumThreads(0)  # it works within its caller's thread: here there are enough of them
        with ThreadPoolExecutor(self._threads, thread_name_prefix="image") as pool:
            images = {pool.submit(self._try, image, target): image for image, target in targets.items()}
            try:
                for done in as_completed(images):
                    with suppress(Stopped):
                        seen(images[done], done.result())
            finally:
                self.stop()

    def stop(self) -> None:
        """Gives up all images, at the next tile those that are being computed. Signal handlers may call it."""
        self._stopped.set()

    def _go_on(self) -> None:
        """Raises Stopped."""
        if self._stopped.is_set():
            raise Stopped

    def _try(self, image: Path, target: Path) -> str | None:
        """Why the image failed, in one line, or None."""
        try:
            self._make(image, target)
        except MemoryError:
            return "too large for this machine's memory"
        except OSError as error:
            return error.strerror or str(error)
        except (ValueError, RuntimeError, cv2.error) as error:  # of the image, the engine, the encoder
            return str(error).partition("\n")[0]
        return None

    def _make(self, image: Path, target: Path) -> None:
        self._go_on()
        data = image.read_bytes()
        header = read_header(data)
        if header.width * header.height > LARGEST_IMAGE:
            size = f"{header.width} x {header.height}"
            raise ImageError(f"The image has {size} pixels, more than the {LARGEST_IMAGE} that can be decoded.")
        with self._room.taken(header.pixels):
            pages = decode_pages(data)
            del data
            with self._streams:
                rendered = [self._segmenter.render(page, self._render) for page in pages]
            file = to_file(self._wanted, self._segmenter.description, pages, rendered, image.stem)
        write_whole(target.with_name(target.name + file.suffix), file.data)

    def _render(self, probabilities: Array) -> NDArray[Any]:
        self._go_on()
        return renderer(self._wanted, self._segmenter.description)(probabilities)


class Room:
    """Room for so many pixels at once; an image that is larger than all of it has it to itself."""

    def __init__(self, pixels: int) -> None:
        self._pixels, self._taken = pixels, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Waits until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()
