"""`python -m tests.torture.public_files DIR`: sends every image file below a folder through the service.

DIR holds a folder for each source, for example the checkouts of public repositories. Each file is posted to a service
with a small net, and its decoded pixels are compared with those of tifffile or Pillow. The printed table has a row for
each source; `--report FILE` lists the files that were refused, or read otherwise than by the reference, as JSON lines.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from model.images.decoding import SUFFIXES, ImageFile
from model.images.image_errors import ImageError
from tests.support.servers import Server, service
from tests.support.small_net import save_small_net

MAX_PIXELS = 64_000_000
MAX_BODY_BYTES = 32_000_000

OTHER_SUFFIXES = (".dib", ".apng", ".gif", ".jp2", ".dcm", ".nii", ".svs", ".dng", ".nef", ".tf2")
# Lossy decoders round differently, and colours from palettes and inks by a level or two.
TOLERANCE = 3.0

# The tag of stacks with one directory.
_METAMORPH = 33629

Pixels = NDArray[Any]


@dataclass
class Found:
    """What happened to one file."""

    path: str
    status: int
    seconds: float
    detail: str = ""
    valid: bool = False
    """True if the reference reads the file."""
    difference: float | None = None
    """Mean absolute difference from the reference, in levels of 255; None without a comparison."""


@dataclass
class Source:
    """The files of one folder."""

    name: str
    files: list[Found] = field(default_factory=list)

    def row(self) -> str:
        """A row of the table."""
        statuses = Counter(found.status for found in self.files)
        tiffs = [found for found in self.files if found.path.lower().endswith((".tif", ".tiff")) and found.valid]
        answered = sum(found.status == 200 for found in tiffs)
        compared = [found for found in self.files if found.status == 200 and found.difference is not None]
        differing = sum((found.difference or 0) > TOLERANCE for found in compared)
        cells = [
            *(self.name, len(self.files), statuses[200], statuses[400], statuses[415], statuses[422]),
            sum(count for status, count in statuses.items() if status >= 500),
            *(f"{answered} of {len(tiffs)}", f"{differing} of {len(compared)}"),
            f"{max((found.seconds for found in self.files), default=0):.1f}",
        ]
        return "| " + " | ".join(map(str, cells)) + " |"


HEAD = (
    "| source | files | 200 | 400 | 415 | 422 | 5xx | valid TIFFs answered | differ from the reference | slowest, s |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def main(argv: list[str] | None = None) -> int:
    """The command; 1 if a file gave a 5xx, or a picture that differs from the reference."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.public_files", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--report", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None
    sources = [Source(path.name) for path in sorted(arguments.folder.iterdir()) if path.is_dir()]
    with _Running() as server:
        for source in sources:
            source.files = [_send(server, path, arguments.folder) for path in _images(arguments.folder / source.name)]
            print(f"{source.name}: {len(source.files)} files", file=sys.stderr, flush=True)
    every = [found for source in sources for found in source.files]
    print("\n".join([HEAD, *(source.row() for source in sources if source.files), Source("all", every).row()]))
    bad = [found for found in every if found.status >= 500 or (found.status == 200 and _differs(found))]
    if arguments.report:
        odd = [found for found in every if found.status != 200 or _differs(found)]
        arguments.report.write_text("".join(json.dumps(asdict(found)) + "\n" for found in odd))
    return int(bool(bad))


class _Running:
    """A service with a small net, limits for large files, and a long deadline."""

    def __enter__(self) -> Server:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "small-net.safetensors"
        save_small_net(path, depth=1)
        settings: dict[str, object] = {"device": "cpu", "precision": "fp32", "engine": "torch", "threads": 2}
        settings |= {"max_pixels": MAX_PIXELS, "max_body_bytes": MAX_BODY_BYTES, "deadline_s": 120, "max_wait_s": 120}
        self._running = service(**settings, weights=path, log_level="error")
        return self._running.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(*error)
        self._folder.cleanup()


def _images(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES):
            yield path


def _send(server: Server, path: Path, folder: Path) -> Found:
    data = path.read_bytes()
    started = time.monotonic()
    answer = server.post(data)
    found = Found(str(path.relative_to(folder)), answer.status, round(time.monotonic() - started, 3))
    if answer.status != 200:
        found.detail = json.loads(answer.body)["detail"]
    if len(data) > MAX_BODY_BYTES:
        return found
    reference = _reference(data)
    found.valid = reference is not None
    if reference is not None and answer.status == 200:
        found.difference = _difference(data, reference)
    return found


def _differs(found: Found) -> bool:
    return found.difference is not None and found.difference > TOLERANCE


# --- The reference ----------------------------------------------------------------------------------------------------


def _reference(data: bytes) -> list[Pixels] | None:
    """The pages as another reader decodes them, H x W or H x W x C in levels of 255; None if it cannot."""
    for read in (_by_tifffile, _by_pillow):
        try:
            pages = read(data)
        except Exception:  # noqa: BLE001, S112 - what it cannot read is no reference
            continue
        if pages:
            return pages
    return None


def _by_tifffile(data: bytes) -> list[Pixels]:
    """Full-size pages of grey and RGB; none if the file has other colours."""
    pages = []
    with tifffile.TiffFile(BytesIO(data), _multifile=False) as file:
        for page in file.pages:
            assert isinstance(page, tifffile.TiffPage)
            if page.is_reduced or page.is_mask or page.photometric == tifffile.PHOTOMETRIC.MASK:
                continue
            if page.size > MAX_PIXELS:
                raise ValueError("too large to compare")
            turned = page.tags.valueof("Orientation", 1) != 1
            if page.photometric not in (0, 1, 2, 6) or turned or (page.photometric == 6 and page.compression != 7):
                return []
            if page.photometric == 1 and page.samplesperpixel > 1:
                return []
            premultiplied = tifffile.EXTRASAMPLE.ASSOCALPHA in page.extrasamples
            if premultiplied or 262 not in page.tags or page.tags.get(_METAMORPH):
                return []
            values = page.asarray()
            values = np.moveaxis(values, 0, -1) if page.planarconfig == 2 and values.ndim == 3 else values
            full = float(2**page.bitspersample - 1) if page.bitspersample < 8 else 0.0
            values = values * (255 / full) if full else values
            pages.append(_inverted(values, page) if page.photometric == 0 else values)
    return pages


def _inverted(values: Pixels, page: tifffile.TiffPage) -> Pixels:
    bits = max(8, page.bitspersample)
    inverted: Pixels = (2**bits - 1 - values.astype(np.float64)) if bits <= 16 else -values.astype(np.float64)
    return inverted


def _by_pillow(data: bytes) -> list[Pixels]:
    """The first picture, which all formats but TIFF have only one of."""
    with Image.open(BytesIO(data)) as image:
        is_stack = getattr(image, "n_frames", 1) > 1 or _METAMORPH in getattr(image, "tag_v2", {})
        if image.format == "TIFF" and is_stack:
            return []
        if image.width * image.height > MAX_PIXELS:
            raise ValueError("too large to compare")
        image.load()
        if image.mode in ("L", "RGB", "RGBA", "I;16", "I", "F"):
            return [np.asarray(image)]
        if image.mode == "1":
            return [np.asarray(image.convert("L"))]
        return [np.asarray(image.convert("RGBA" if "A" in image.mode or "transparency" in image.info else "RGB"))]


def _difference(data: bytes, reference: Sequence[Pixels]) -> float | None:
    """The largest mean difference of a page, in levels of 255; infinite if pages are missing or of another size."""
    try:
        file = ImageFile.read(data)
        if file.header.channels:
            return None
        pages = file.stored_pages()
    except ImageError:
        return float("inf")
    if len(pages) != len(reference):
        return float("inf")
    return max(_of_page(*pair) for pair in zip(pages, reference, strict=True))


def _of_page(page: Pixels, reference: Pixels) -> float:
    if page.shape[:2] != reference.shape[:2]:
        return float("inf")
    ours, theirs = (_colours(each).astype(np.float64) for each in (page, reference))
    if page.dtype == np.uint16 and reference.dtype == np.uint8:  # Pillow reduces deep colours
        theirs = theirs * 257
    if ours.shape != theirs.shape:
        ours, theirs = (each if each.ndim == 3 else each[:, :, None] for each in (ours, theirs))
    known = np.isfinite(theirs) & np.isfinite(ours)
    spread = 255.0 if page.dtype == np.uint8 else _spread(theirs, known)
    return float(np.abs(ours - theirs).mean(where=known)) * 255 / spread if known.any() and spread else 0.0


def _spread(values: Pixels, known: Pixels) -> float:
    return float(values.max(initial=0.0, where=known) - values.min(initial=0.0, where=known))


def _colours(page: Pixels) -> Pixels:
    return page[:, :, :3] if page.ndim == 3 else page


if __name__ == "__main__":
    sys.exit(main())
