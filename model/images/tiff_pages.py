"""The pages of a TIFF file: which of its directories are pages, and which of those can be decoded rightly."""

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from model.images.foreign import ACCEPTED, DEVELOP
from model.images.image_errors import UnsupportedImage, broken
from model.images.tiff_directories import MAX_PAGES, Directory, read_directories, read_sub_directories

MAX_SAMPLES = 256
# Letters. Reading XML takes many times its size in memory; the longest of real files have about a million.
MAX_DESCRIPTION = 2**21

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, DESCRIPTION = 256, 257, 258, 259, 262, 266, 270
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANES = 273, 274, 277, 278, 279, 284
TRANSPOSED = (5, 6, 7, 8)  # orientations that swap width and height
PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 317, 320, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, SUBSAMPLING = 338, 339, 347, 530
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _MAKER, _DEPTH = 254, 255, 271, 32997
_METAMORPH, LSM, _DNG = 33629, 34412, 50706

WHITE_IS_ZERO, GREY, RGB, PALETTE, _TRANSPARENCY, INKS, YCBCR = range(7)
_COLOURS = {
    RGB: "RGB",
    INKS: "CMYK",
    YCBCR: "YCbCr",
    8: "CIELAB",
    9: "ICCLAB",
    10: "ITULAB",
    32844: "LogL",
    32845: "LogLuv",
}
_SENSOR = (32803, 34892)
_ALPHA = (1, 2)

JPEG, JPEG_2000 = 7, (33003, 33004, 33005, 34712)
# None, LZW, deflate (twice), PackBits, LZMA, Zstandard. Decoders of CCITT fill what they cannot read with white.
_COMPRESSIONS = (1, 5, JPEG, 8, 32946, 32773, 34925, 50000, *JPEG_2000)
_ALL_ROWS = 2**32 - 1  # in one strip
# Bytes of a pixel of RGBA in 16 bits: memory is reserved by pixels, and larger ones count several times.
_PIXEL_BYTES = 8

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
_NO_FORMAT = 4
_DTYPES = {UNSIGNED: "uint", SIGNED: "int", FLOAT: "float", 5: "complex int", 6: "complex"}
_BITS = {UNSIGNED: (*range(1, 17), 32, 64), SIGNED: (8, 16, 32, 64), FLOAT: (16, 32, 64)}


@dataclass(frozen=True)
class Page:
    """The tags of a page that matter, with the standard's defaults.

    Attributes:
        directory: All tags as stored.
        number: The place of the directory in the file's chain, from 0; None for a directory that belongs to another.
        width: Pixels of a stored row.
        height: Stored rows.
        bits: Bits of a sample.
        sample_format: UNSIGNED, SIGNED or FLOAT.
        compression: Its number in the standard.
        photometric: The number of the meaning of the samples.
        orientation: How the picture is turned, 1 to 8.
        samples: Samples of a pixel.
        apart: True if each sample has its own plane (PlanarConfiguration 2).
        alpha: True if the first sample beyond the colours is opacity.
        rows_per_strip: Rows of a strip; without meaning for tiles.
        tile: Width and height of a tile; 0 for strips.
        plane: The place among pages that share one directory; None for a page with its own.
    """

    directory: Directory
    number: int | None
    width: int
    height: int
    bits: int
    sample_format: int
    compression: int
    photometric: int
    orientation: int
    samples: int
    apart: bool
    alpha: bool
    rows_per_strip: int
    tile: tuple[int, int]
    plane: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the decoded page, after the rotation that its Orientation asks for."""
        return (self.height, self.width) if self.orientation in TRANSPOSED else (self.width, self.height)

    @property
    def colours(self) -> int:
        """Samples that are one colour together: 3, 4 for inks, or 1."""
        # some programs tag interleaved colours as grey
        tagged_as_grey = self.photometric == GREY and self.samples == 3 and not self.apart
        return {RGB: 3, YCBCR: 3, INKS: 4}.get(self.photometric, 3 if tagged_as_grey else 1)

    @property
    def grey_samples(self) -> int:
        """Number of pictures that the samples are: each sample of grey is one, unless there are just grey and alpha."""
        if self.colours > 1 or self.photometric == PALETTE or (self.alpha and self.samples == 2):
            return 1
        return self.samples

    @property
    def room(self) -> int:
        """Pixels to reserve memory for: of the page, or of a tile or strip if larger, since decoders hold it whole."""
        rows = self.height if self.rows_per_strip == _ALL_ROWS else self.rows_per_strip
        pixels = max(self.width * max(self.height, rows), self.tile[0] * self.tile[1])
        return pixels * -(-self.samples * -(-self.bits // 8) // _PIXEL_BYTES)

    @property
    def first_byte(self) -> int:
        """The offset of the first strip."""
        return next(iter(self.directory.integers(STRIP_OFFSETS)), 0)

    @property
    def stored_bytes(self) -> int:
        """Bytes of an uncompressed page."""
        return self.height * self.width * self.samples * self.bits // 8

    def check(self) -> None:
        """Raises ImageError if there are no pixels, UnsupportedImage for pages that no decoder reads rightly."""
        if not (self.width and self.height) or self.directory.integers(PLANES) not in ((), (1,), (2,)):
            raise broken("TIFF")
        self._check_samples()
        self._check_colours()
        if self.compression not in _COMPRESSIONS:
            raise UnsupportedImage(
                f"TIFF files with compression {self.compression} are not accepted: uncompressed ones, and those with "
                "LZW, deflate, PackBits, LZMA, Zstandard, JPEG or JPEG 2000 are."
            )
        if self.compression == JPEG and self.bits != 8:
            raise UnsupportedImage(f"TIFF files with JPEG of {self.bits} bits are not accepted: 8 bits are.")

    def _check_samples(self) -> None:
        if self.directory.integers(_DEPTH) not in ((), (1,)):
            raise UnsupportedImage("TIFF pages of several sections (ImageDepth) are not accepted: save them as pages.")
        if self.bits not in _BITS.get(self.sample_format, ()):
            dtype = f"{_DTYPES.get(self.sample_format, 'unknown')}{self.bits}"
            raise UnsupportedImage(
                f"Pixels of type {dtype} are not accepted: whole numbers of up to 64 bits and float16, 32 and 64 are."
            )
        if not self.colours <= self.samples <= MAX_SAMPLES:
            raise UnsupportedImage(
                f"TIFF files of {self.samples} samples a pixel are not accepted: "
                f"{self.colours} to {MAX_SAMPLES} are, for these colours."
            )

    def _check_colours(self) -> None:
        if self.photometric in _SENSOR:
            maker = "".join(self.directory.texts(_MAKER)).strip()[:40]
            raise UnsupportedImage(
                f"A camera's raw picture ({maker or 'of no named maker'}) is not accepted. {DEVELOP}"
            )
        if self.photometric > YCBCR:
            name = _COLOURS.get(self.photometric, f"photometric interpretation {self.photometric}")
            raise UnsupportedImage(f"TIFF files of {name} are not accepted: save the picture as RGB or grey.")
        if self.photometric == PALETTE and (self.sample_format != UNSIGNED or self.bits > 16 or self.samples > 2):
            raise UnsupportedImage("TIFF files with a palette are accepted with one sample of up to 16 bits a pixel.")
        if self.photometric in (INKS, YCBCR) and (self.sample_format != UNSIGNED or self.bits not in (8, 16)):
            raise UnsupportedImage("TIFF files in CMYK or YCbCr are accepted with 8 or 16 bits a sample.")
        if self.photometric == YCBCR and (self.apart or self.bits != 8):
            raise UnsupportedImage("TIFF files in YCbCr are accepted with 8 bits, and samples pixel by pixel.")


def read_pages(data: bytes) -> list[Page]:
    """Reads the full-size pages of a TIFF file, at least one.

    Smaller copies, transparency masks and, in slides, labels are not pages.

    Raises:
        ImageError: The file is damaged.
        UnsupportedImage: Its pages cannot be decoded rightly.
        struct.error: The file ends too early.
    """
    directories = read_directories(data)
    _check_not_raw(directories[0])
    pages = _full_size(list(enumerate(directories)))
    if not pages:  # the picture of a camera file belongs to its thumbnail
        pages = _full_size([(None, each) for directory in directories for each in read_sub_directories(directory)])
    pages = pages or [_page(0, directories[0])]
    if LSM in directories[0].tags:  # Zeiss tags any three channels as RGB
        pages = [replace(page, photometric=GREY) for page in pages]
    for page in pages:
        page.check()
    return pages if len(pages) > 1 else _repeated(pages[0])


def description(page: Page) -> str:
    """Returns the text that programs store metadata in; of several texts the first that is a known kind of it."""
    texts = [text for text in page.directory.texts(DESCRIPTION) if len(text) <= MAX_DESCRIPTION]
    known = [text for text in texts if text.lstrip().startswith(("<?xml", "<OME", "ImageJ=", '{"shape"'))]
    return next(iter(known or texts), "")


def _check_not_raw(first: Directory) -> None:
    """Raises UnsupportedImage for DNG and CR2, whose first pages are previews."""
    name = "Canon CR2" if first.data[8:10] == b"CR" else "DNG" if _DNG in first.tags else ""
    if name:
        raise UnsupportedImage(f"{name} is not accepted: {ACCEPTED}. {DEVELOP}")


def _full_size(directories: Sequence[tuple[int | None, Directory]]) -> list[Page]:
    pages = [_page(number, each) for number, each in directories[:MAX_PAGES] if not _is_copy_or_mask(each)]
    # slide scanners of Aperio store smaller copies, label and camera picture as if they were pages
    if pages and "".join(pages[0].directory.texts(DESCRIPTION)).startswith("Aperio"):
        return pages[:1]
    return pages


def _is_copy_or_mask(directory: Directory) -> bool:
    kind = next(iter(directory.integers(_NEW_SUBFILE_TYPE)), 0)
    old_kind = next(iter(directory.integers(_SUBFILE_TYPE)), 0)
    mask = directory.integers(PHOTOMETRIC) == (_TRANSPARENCY,)
    return bool(kind & 1 or kind & 4 or old_kind == 2 or mask)


def _page(place: int | None, directory: Directory) -> Page:
    def number(tag: int, default: int) -> int:
        return next(iter(directory.integers(tag)), default)

    samples = number(SAMPLES, 1)
    most = max(1, min(samples, MAX_SAMPLES))
    sample_format = _equal(directory.integers(SAMPLE_FORMAT, most), UNSIGNED)
    return Page(
        directory=directory,
        number=place,
        width=number(WIDTH, 0),
        height=number(HEIGHT, 0),
        bits=_equal(directory.integers(BITS, most), 1),
        sample_format=UNSIGNED if sample_format == _NO_FORMAT else sample_format,
        compression=number(COMPRESSION, 1),
        photometric=number(PHOTOMETRIC, GREY),
        orientation=number(ORIENTATION, 1),
        samples=samples,
        apart=number(PLANES, 1) == 2 and samples > 1,
        alpha=number(EXTRA_SAMPLES, 0) in _ALPHA,
        rows_per_strip=number(ROWS_PER_STRIP, _ALL_ROWS),
        tile=(number(TILE_WIDTH, 0), number(TILE_HEIGHT, 0)),
    )


def _repeated(page: Page) -> list[Page]:
    """The page and those stored behind it without a directory, as MetaMorph, ImageJ and tifffile write stacks.

    Raises ImageError if some of them are missing, UnsupportedImage if there are too many.
    """
    count, certain = _planes_behind(page)
    end = page.first_byte + count * page.stored_bytes
    simple = page.compression == 1 and page.tile == (0, 0) and page.bits % 8 == 0
    if count < 2 or not (certain or (simple and end <= len(page.directory.data))):
        return [page]
    if count > MAX_PAGES:
        raise UnsupportedImage(f"TIFF files of more than {MAX_PAGES} pages are not accepted.")
    if not simple:
        raise UnsupportedImage("Compressed MetaMorph stacks are not accepted: save the stack without compression.")
    if end > len(page.directory.data):
        raise broken("TIFF")
    return [replace(page, plane=plane) for plane in range(count)]


def _planes_behind(page: Page) -> tuple[int, bool]:
    """The number of pages that a directory stands for, and whether that is certain.

    ImageJ's description is not: other programs copy it to files of one page.
    """
    if _METAMORPH in page.directory.tags:
        return page.directory.tags[_METAMORPH][0].count, True
    text = description(page)
    if text.startswith("ImageJ=") and (images := re.search(r"^images=(\d{1,9})\s*$", text, re.MULTILINE)):
        return int(images[1]), False
    if text.startswith('{"shape"') and '"truncated": true' in text:
        with suppress(ValueError, TypeError, RecursionError):
            return math.prod(map(int, json.loads(text)["shape"])) // (page.height * page.width * page.samples), False
    return 1, False


def _equal(values: tuple[int, ...], default: int) -> int:
    """The value of all samples. Raises UnsupportedImage if they differ."""
    if len(set(values)) > 1:
        raise UnsupportedImage("TIFF files whose samples differ in their number of bits or type are not accepted.")
    return next(iter(values), default)
