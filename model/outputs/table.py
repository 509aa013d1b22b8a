"""Measurements of objects as a table.

Positions are in pixels from the image's top left corner, x to the right and y down, so the centre of the first pixel is
at 0.5. Shapes follow scikit-image's `regionprops_table`.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.images.calibration import PixelSize
from model.images.channels import COLOURS, channel_titles
from model.images.decoding import ImageFile
from model.inputs.net_input import NetInput
from model.outputs.limits import MOST_INTERLEAVED, OutputError
from model.outputs.objects import Ids, class_of_each

Column: TypeAlias = NDArray[Any]
Table: TypeAlias = dict[str, Column]
"""Columns of equal length, by name."""

_SHAPE = ("orientation", "eccentricity", "solidity", "euler_number")
_LENGTHS = ("perimeter", "equivalent_diameter_area", "axis_major_length", "axis_minor_length")
_PIXELS_AT_ONCE = 2**20


def measure_objects(
    pages: Sequence[tuple[Ids, NDArray[np.uint8]]], labels: Mapping[int, str], given: NetInput
) -> Table:
    """Returns a row for each object of each page.

    Columns end in their unit: `_px`, `_um` (micrometres, if the size of a pixel is known), `_um2`, `_deg`. An
    intensity without a finite pixel is NaN, and so is a perimeter in micrometres if pixels are not square.

    Args:
        pages: Ids and mask of each page.
        labels: The meaning of the mask's values.
        given: The pages as decoded. Intensities are measured in `given.file`, in all its channels.

    Raises:
        OutputError: The file has too many channels.
        ImageError: A channel of the file is broken.
    """
    tables = [_measure_page(page, ids, mask, labels, given) for page, (ids, mask) in enumerate(pages)]
    for name, pictures in _channels(given.file):
        for table, (ids, _), picture in zip(tables, pages, pictures, strict=True):
            table |= _intensities(ids, picture, name)
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def to_csv(table: Table) -> bytes:
    """Returns a CSV file (RFC 4180, UTF-8) with the names of the columns in its first line."""
    written = StringIO()
    writer = csv.writer(written)
    writer.writerow(table)
    writer.writerows(zip(*(_texts(column) for column in table.values()), strict=True))
    return written.getvalue().encode()


def _texts(column: Column) -> list[str]:
    if column.dtype.kind == "f":
        return [f"{value:.10g}" for value in column]
    if column.dtype.kind == "b":
        return ["true" if value else "false" for value in column]
    return [str(value) for value in column]


def _measure_page(page: int, ids: Ids, mask: NDArray[np.uint8], labels: Mapping[int, str], given: NetInput) -> Table:
    from skimage.measure import regionprops_table  # imported on first use because the import takes long

    properties = ("label", "area", "centroid", "bbox", *_LENGTHS, *_SHAPE)
    found: Table = regionprops_table(ids, properties=properties)
    values = class_of_each(ids, mask)[found["label"]]
    count = len(values)
    table: Table = {"page": np.full(count, page)}
    if len(given.places) > 1:
        table |= {"z": np.full(count, given.places[page].z), "t": np.full(count, given.places[page].t)}
    table |= {
        "label": found["label"],
        "class": np.array([labels.get(int(value), str(value)) for value in values], np.str_),
    }
    sizes = _sizes_in_pixels(found)
    table |= {f"{name}_px": column for name, column in sizes.items()}
    table |= {
        # skimage counts from the downward axis, ImageJ and this table from the axis to the right
        "orientation_deg": (90 + np.degrees(found["orientation"])) % 180,
        "eccentricity": found["eccentricity"],
        "solidity": found["solidity"],
        "euler_number": found["euler_number"],
        "touches_border": _touches_border(found, ids.shape),
    }
    return table | (_calibrated(ids, sizes, given.pixel_size) if given.pixel_size else {})


def _sizes_in_pixels(found: Table) -> Table:
    """Returns the columns that have a length or an area, without the unit in their names."""
    top, left, bottom, right = (found[f"bbox-{side}"] for side in range(4))
    return {
        "area": found["area"].astype(np.int64),
        "centroid_x": found["centroid-1"] + 0.5,
        "centroid_y": found["centroid-0"] + 0.5,
        "bbox_x": left,
        "bbox_y": top,
        "bbox_width": right - left,
        "bbox_height": bottom - top,
        "perimeter": found["perimeter"],
        "equivalent_diameter": found["equivalent_diameter_area"],
        "major_axis": found["axis_major_length"],
        "minor_axis": found["axis_minor_length"],
    }


def _calibrated(ids: Ids, sizes: Table, pixel: PixelSize) -> Table:
    """Returns areas and lengths in micrometres."""
    from skimage.measure import regionprops_table

    table: Table = {}
    square = pixel.x == pixel.y
    for name, column in sizes.items():
        if name == "area":
            table["area_um2"] = column * (pixel.x * pixel.y)
        else:
            scale = pixel.y if name.endswith(("_y", "_height")) else pixel.x
            table[f"{name}_um"] = column * scale
    if not square:
        axes = regionprops_table(ids, properties=("axis_major_length", "axis_minor_length"), spacing=(pixel.y, pixel.x))
        table["perimeter_um"] = np.full(len(table["area_um2"]), np.nan)
        table["equivalent_diameter_um"] = np.sqrt(4 / np.pi * table["area_um2"])
        table["major_axis_um"], table["minor_axis_um"] = axes["axis_major_length"], axes["axis_minor_length"]
    return table


def _touches_border(found: Table, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    touching: NDArray[np.bool_] = (
        (found["bbox-0"] == 0) | (found["bbox-1"] == 0) | (found["bbox-2"] == shape[0]) | (found["bbox-3"] == shape[1])
    )
    return touching


def _channels(file: ImageFile | None) -> Iterator[tuple[str, list[NDArray[Any]]]]:
    """Yields the pages of one channel after the other, as stored, with the channel's name; "" if there is only one."""
    if file is None:
        return
    names = file.header.channels
    if names:
        _check_channels(file)
        for index, title in enumerate(channel_titles(names)):
            yield from _by_colour(title, file.stored_pages(index))
    else:
        yield from _by_colour("", file.stored_pages())


def _by_colour(title: str, pages: list[NDArray[Any]]) -> Iterator[tuple[str, list[NDArray[Any]]]]:
    """Yields the pages of a channel, or those of each colour with its name if some pages are in colour."""
    if all(page.ndim == 2 for page in pages):
        yield title, pages
        return
    for index, name in enumerate(COLOURS):  # transparency is not measured; all colours of a grey page are its grey
        named = f"{title}_{name}" if title else name
        yield named, [page if page.ndim == 2 else page[..., index] for page in pages]


def _check_channels(file: ImageFile) -> None:
    """Raises OutputError if the channels are stored pixel by pixel and are too many for the image's size."""
    header = file.header
    count, stack = len(header.channels), header.stack
    interleaved = stack is not None and any(plane.sample is not None for plane in stack.planes)
    # not `header.pixels`, in which the samples count already
    if interleaved and count * header.pages * header.width * header.height > MOST_INTERLEAVED:
        raise OutputError(f"The image has {count} channels, stored pixel by pixel, too many to measure at its size.")


def _intensities(ids: Ids, picture: NDArray[Any], channel: str) -> Table:
    """Returns mean, standard deviation of all pixels (not of a sample), lowest and highest value of each object.

    Values that are not finite do not count.
    Works on some rows at a time, because a copy of a whole page in floating point would take too much memory.
    """
    count = int(ids.max(initial=0)) + 1
    pixels, sums, squares = np.zeros((3, count))
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    for numbers, values in _inside(ids, picture):
        pixels += np.bincount(numbers, minlength=count)
        sums += np.bincount(numbers, values, minlength=count)
        np.minimum.at(low, numbers, values)
        np.maximum.at(high, numbers, values)
    known = np.maximum(pixels, 1)
    mean = sums / known
    for numbers, values in _inside(ids, picture):
        squares += np.bincount(numbers, (values - mean[numbers]) ** 2, minlength=count)
    columns = {"mean": mean, "std": np.sqrt(squares / known), "min": low, "max": high}
    suffix = f"_{channel}" if channel else ""
    return {f"{name}_intensity{suffix}": np.where(pixels > 0, columns[name], np.nan)[1:] for name in columns}


def _inside(ids: Ids, picture: NDArray[Any]) -> Iterator[tuple[Ids, NDArray[np.float64]]]:
    """Yields the ids and finite values of the pixels of objects, some rows at a time."""
    rows = max(1, _PIXELS_AT_ONCE // ids.shape[1])
    for top in range(0, len(ids), rows):
        numbers, values = ids[top : top + rows], picture[top : top + rows]
        inside = (numbers > 0) & np.isfinite(values)
        yield numbers[inside], values[inside].astype(np.float64)
