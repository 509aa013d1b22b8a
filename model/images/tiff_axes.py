"""Which channel, section and time the pages of a TIFF file show, by OME, ImageJ, tifffile or LSM metadata."""

import json
import math
import struct
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

from model.images.calibration import MICROMETRE, PixelSize, pixel_size, to_micrometres
from model.images.image_errors import UnsupportedImage
from model.images.tiff_pages import LSM, TRANSPOSED, Page, description

# Pages times samples; this many take some tenths of a second.
MAX_PLANES = 2**16

# Raised by metadata that make no sense.
_CONTRADICTIONS: tuple[type[Exception], ...] = (
    *(ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError),
    *(ET.ParseError, struct.error),
)

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
RESOLUTION_UNITS = {2: "inch", 3: "cm"}
# Pixels per inch of screens: programs write them for any image.
_OF_SCREENS = {72, 96}


@dataclass(frozen=True)
class Plane:
    """One picture in a TIFF file, with its place on the axes.

    Attributes:
        page: Its page, from 0.
        sample: The sample of the page's pixels that it is; None for all.
        c: Channel, from 0.
        z: Section, from 0.
        t: Time, from 0.
        image: The image that the plane belongs to, from 0; OME files may hold several.
    """

    page: int
    sample: int | None
    c: int = 0
    z: int = 0
    t: int = 0
    image: int = 0


@dataclass(frozen=True)
class Stack:
    """The pages of a TIFF file, and what its metadata say.

    Attributes:
        pages: All full-size pages.
        planes: All pictures, in the order in which they are stored.
        channels: Names of the channels; a number where there is no name.
        pixel_size: None if it is not known.
        significant_bits: Bits of a sample that the camera used; 0 if it is not known.
    """

    pages: Sequence[Page]
    planes: tuple[Plane, ...]
    channels: tuple[str, ...]
    pixel_size: PixelSize | None
    significant_bits: int = 0

    @cached_property
    def sections(self) -> list[list[Plane]]:
        """The planes of each section at each time, in the order in which the first of them is stored."""
        found: dict[tuple[int, int, int], list[Plane]] = {}
        for plane in self.planes:
            found.setdefault((plane.image, plane.t, plane.z), []).append(plane)
        return [sorted(planes, key=lambda plane: plane.c) for planes in found.values()]

    def planes_of(self, channel: int) -> list[Plane]:
        """Returns the plane of a channel in each section; the last one of sections that have fewer channels."""
        return [planes[min(channel, len(planes) - 1)] for planes in self.sections]

    @property
    def room(self) -> int:
        """Pixels to reserve memory for: one channel of all sections."""
        counted: set[int] = set()
        total = 0
        for plane, *_ in self.sections:
            page = self.pages[plane.page]
            total += page.width * page.height if plane.page in counted else page.room
            counted.add(plane.page)
        return total


def read_stack(pages: Sequence[Page]) -> Stack:
    """Reads the axes of all pages. Metadata that contradict the pages are ignored: each page is a section then."""
    if sum(page.grey_samples for page in pages) > MAX_PLANES:
        raise UnsupportedImage(f"TIFF files of more than {MAX_PLANES} pictures are not accepted.")
    text = description(pages[0])
    found: Stack | None = None
    with suppress(*_CONTRADICTIONS):
        if text.startswith("ImageJ="):
            found = _of_imagej(text, pages)
        elif text.startswith("{"):
            found = _of_tifffile(text, pages)
        elif "<OME" in text[:2000]:
            found = _of_ome(text, pages)
        elif LSM in pages[0].directory.tags:
            found = _of_lsm(pages)
    stack = found if found and _is_consistent(found) else _plain(pages)
    packed = pages[0].bits if 8 < pages[0].bits < 16 else 0
    return replace(stack, significant_bits=stack.significant_bits or packed)


def array_shape(pages: Sequence[Page]) -> tuple[int, ...]:
    """Returns the shape of the array that tifffile stored in a file; () if the file does not contain a shape."""
    text = description(pages[0])
    with suppress(*_CONTRADICTIONS):
        if text.startswith('{"shape"'):
            return tuple(int(length) for length in json.loads(text)["shape"])
    return ()


def _is_consistent(stack: Stack) -> bool:
    """True if each section has the same channels, and their pages have one size."""
    channels = [[plane.c for plane in planes] for planes in stack.sections]
    sizes = [{stack.pages[plane.page].size for plane in planes} for planes in stack.sections]
    return all(each == channels[0] for each in channels) and all(len(each) == 1 for each in sizes)


def _plain(pages: Sequence[Page]) -> Stack:
    """Samples that are stored pixel by pixel are channels, samples in planes of their own are sections."""
    channels = max(1 if page.apart else page.grey_samples for page in pages)
    planes: list[Plane] = []
    z = 0
    for index, page in enumerate(pages):
        if page.grey_samples == 1:
            planes.append(Plane(index, None, z=z))
        elif page.apart:
            planes += [Plane(index, sample, z=z + sample) for sample in range(page.grey_samples)]
        else:
            planes += [Plane(index, sample, c=sample, z=z) for sample in range(page.grey_samples)]
        z += page.grey_samples if page.apart else 1
    return Stack(pages, tuple(planes), _numbers(channels), _resolution(pages[0]))


def _of_imagej(text: str, pages: Sequence[Page]) -> Stack:
    """ImageJ stores channels first, then sections, then times."""
    known = {name: value.strip() for name, _, value in (line.partition("=") for line in text.splitlines())}
    lengths = {axis: int(known.get(name, 1)) for axis, name in (("t", "frames"), ("z", "slices"), ("c", "channels"))}
    unit = known.get("unit", "").replace("\\u00B5", "\u00b5")
    return _arranged(pages, "tzc", lengths, _size_of_tags(pages[0], unit, float(known.get("spacing", 0.0))))


def _of_tifffile(text: str, pages: Sequence[Page]) -> Stack:
    """The shape and axes that tifffile stores as JSON; axes that it does not know count sections."""
    known = json.loads(text)
    shape, axes = [int(length) for length in known["shape"]], str(known["axes"]).lower()
    if len(shape) != len(axes):
        raise ValueError("axes do not fit the shape")
    others = [
        (axis if axis in "tc" else "z", length) for axis, length in zip(axes, shape, strict=True) if axis not in "yxs"
    ]
    order = "".join(name for name, _ in others)
    if len(set(order)) < len(order):
        raise ValueError("two axes count sections")
    lengths = dict(others)
    return _arranged(pages, order, lengths, _resolution(pages[0]))


def _of_lsm(pages: Sequence[Page]) -> Stack:
    """Zeiss LSM: dimensions are 32-bit integers, pixel sizes follow in metres."""
    directory = pages[0].directory
    at = directory.tags[LSM][0].at
    _, _, _, _, sections, channels, times = struct.unpack_from(f"{directory.layout.order}7i", directory.data, at)
    x, y, z = struct.unpack_from(f"{directory.layout.order}3d", directory.data, at + 40)
    lengths = {"t": max(1, times), "z": max(1, sections), "c": max(1, channels)}
    return _arranged(pages, "tzc", lengths, pixel_size(x, y, z, "m"))


def _arranged(pages: Sequence[Page], order: str, lengths: Mapping[str, int], size: PixelSize | None) -> Stack:
    """Counts planes along the axes, the last of `order` first. Raises ValueError if there are fewer or more planes."""
    stored = [(index, sample) for index, page in enumerate(pages) for sample in _samples(page)]
    if math.prod(lengths[axis] for axis in order) != len(stored):
        raise ValueError("the axes do not fit the pages")
    places = product(*(range(lengths[axis]) for axis in order))
    planes = [Plane(*one, **dict(zip(order, place, strict=True))) for one, place in zip(stored, places, strict=True)]
    return Stack(pages, tuple(planes), _numbers(lengths.get("c", 1)), size or _resolution(pages[0]))


def _samples(page: Page) -> Sequence[int | None]:
    return range(page.grey_samples) if page.grey_samples > 1 else (None,)


# --- OME-XML ----------------------------------------------------------------------------------------------------------


def _of_ome(text: str, pages: Sequence[Page]) -> Stack:
    """All images of an OME file, one after the other; smaller copies in it are no pages already."""
    if "<!DOCTYPE" in text:  # entities, which OME-XML never has, can cost any amount of memory
        raise ValueError("a document type")
    every = [node for node in ET.fromstring(text).iter() if node.tag.rpartition("}")[2] == "Pixels"]  # noqa: S314
    stored = [(index, sample) for index, page in enumerate(pages) for sample in _samples(page)]
    planes: list[Plane] = []
    for image, pixels in enumerate(every):
        planes += _ome_planes(pixels, image, stored, len(planes))
    if len(planes) != len(stored):
        raise ValueError("the axes do not fit the pages")
    first = every[0].attrib
    units = {axis: first.get(f"PhysicalSize{axis}Unit", MICROMETRE) for axis in "XZ"}
    units["Y"] = first.get("PhysicalSizeYUnit", units["X"])  # micrometres by the standard, but some state it for X only
    x, y, z = (to_micrometres(float(first.get(f"PhysicalSize{axis}", 0.0)), units[axis]) for axis in "XYZ")
    bits = int(first.get("SignificantBits", 0))
    return Stack(pages, tuple(planes), _ome_channels(every[0], len(stored)), pixel_size(x, y, z, MICROMETRE), bits)


def _ome_planes(pixels: ET.Element, image: int, stored: Sequence[tuple[int, int | None]], first: int) -> list[Plane]:
    """The planes of one image, which begin at `first` in the file unless its TiffData elements say otherwise."""
    lengths = {axis: int(pixels.attrib[f"Size{axis.upper()}"]) for axis in "czt"}
    lengths["c"] = len(_ome_channels(pixels, len(stored)))
    if math.prod(lengths.values()) > len(stored):
        raise ValueError("the axes do not fit the pages")
    order = pixels.attrib["DimensionOrder"][:1:-1].lower()  # "XYCZT" -> "tzc": the last axis counts first
    places = [dict(zip(order, place, strict=True)) for place in product(*(range(lengths[axis]) for axis in order))]
    numbers = {tuple(place[axis] for axis in "czt"): number for number, place in enumerate(places)}
    following = first
    found: dict[int, dict[str, int]] = {}
    for data in (node for node in pixels if node.tag.rpartition("}")[2] == "TiffData"):
        at = numbers[tuple(int(data.get(f"First{axis.upper()}", 0)) for axis in "czt")]
        whole = "IFD" not in data.attrib and "PlaneCount" not in data.attrib
        count = int(data.get("PlaneCount", len(places) if whole else 1))
        following = int(data.get("IFD", following))
        for place in places[at : at + count]:
            found[following] = place
            following += 1
    if not found:
        found = {first + index: place for index, place in enumerate(places)}
    return [Plane(*stored[index], **place, image=image) for index, place in sorted(found.items())]


def _ome_channels(pixels: ET.Element, most: int) -> tuple[str, ...]:
    """Names of the channels that are planes of their own: the three samples of RGB are one channel.

    Raises ValueError if there are more than `most`.
    """
    nodes = [node for node in pixels if node.tag.rpartition("}")[2] == "Channel"]
    count = int(pixels.attrib["SizeC"])
    if nodes and sum(int(node.get("SamplesPerPixel", 1)) for node in nodes) == count:
        count = len(nodes)
    if count > most:
        raise ValueError("more channels than pictures")
    names = [node.get("Name", "").strip() for node in nodes][:count]
    return tuple(name or str(index) for index, name in enumerate(names + [""] * (count - len(names))))


# --- Pixel size -------------------------------------------------------------------------------------------------------


def _resolution(page: Page) -> PixelSize | None:
    """The pixel size of a scanner: the resolution tags, unless they are those of a screen."""
    unit = RESOLUTION_UNITS.get(next(iter(page.directory.integers(_RESOLUTION_UNIT)), 2), "")
    return _size_of_tags(page, unit)


def _size_of_tags(page: Page, unit: str, spacing: float = 0.0) -> PixelSize | None:
    """The size of the decoded pixels, which the page's Orientation may turn, by the resolution tags in a unit."""
    across, down = (_inverse(page.directory.ratio(tag)) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    if is_of_screen(across, down, unit):
        return None
    return pixel_size(*((down, across) if page.orientation in TRANSPOSED else (across, down)), spacing, unit)


def is_of_screen(across: float, down: float, unit: str) -> bool:
    """True for sizes that programs write for any picture: 72 or 96 pixels an inch, in any unit, or 1 pixel a unit."""
    if unit not in RESOLUTION_UNITS.values():
        return False
    inch = to_micrometres(1.0, "inch")
    per_inch = {round(inch / length) for each in (across, down) if (length := to_micrometres(each, unit))}
    return across >= 1 or bool(per_inch & _OF_SCREENS)


def _inverse(value: float) -> float:
    return 1 / value if value else 0.0


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(index) for index in range(count))
