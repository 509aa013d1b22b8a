"""Objects as regions of interest (ROIs) of ImageJ: a ZIP file for its ROI Manager."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

from model.inputs.net_input import NetInput
from model.outputs.colours import colour
from model.outputs.objects import Ids, class_of_each
from model.outputs.outlines import Ring, outline_objects

# Corners of a ROI are 16-bit numbers; those of larger images need floating point.
_LARGEST_CORNER = 2**15 - 1
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0
# The date of the entries, so that equal objects give equal files.
_DATE = (1980, 1, 1, 0, 0, 0)


def to_rois(pages: Sequence[tuple[Ids, NDArray[np.uint8]]], labels: Mapping[int, str], given: NetInput) -> bytes:
    """Returns a ZIP file with a ROI for each object.

    Outlines run along the edges of pixels, so ImageJ measures as many pixels as an object has. An object with holes
    or in parts is a composite ROI. Names hold class and id, with several pages also the page from 1. The position tells
    ImageJ where to show the ROI. Each class has a colour.

    Args:
        pages: Ids and mask of each page.
        labels: The meaning of the mask's values.
        given: The pages as decoded.
    """
    written = BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for page, (ids, mask) in enumerate(pages):
            prefix = f"{page + 1:04d}-" if len(pages) > 1 else ""
            values = class_of_each(ids, mask)
            for number, polygons in outline_objects(ids):
                value = int(values[number])
                roi = _roi([ring for polygon in polygons for ring in polygon])
                roi.name = f"{prefix}{labels.get(value, value)}-{number:05d}"
                roi.stroke_color = bytes((255, *colour(value)))
                if len(pages) > 1:
                    _place(roi, given, page)
                # file names hold no separators of folders; the ROI's own name may hold any sign
                entry = f"{prefix}{value:03d}-{number:05d}.roi"
                archive.writestr(zipfile.ZipInfo(entry, _DATE), roi.tobytes(), zipfile.ZIP_DEFLATED)
    return written.getvalue()


def _place(roi: ImagejRoi, given: NetInput, page: int) -> None:
    """Sets where ImageJ shows the ROI, counted from 1: a place in a hyperstack, or a slice of a stack."""
    places = given.places
    channels = given.channel is not None or len(given.channel_pages) > 1
    if not places or (not channels and _is_one_axis(given)):
        roi.position = page + 1
        return
    roi.c_position = (given.channel or 0) + 1
    roi.z_position = places[page].z + 1
    roi.t_position = places[page].t + 1


def _is_one_axis(given: NetInput) -> bool:
    """True if the pages are only sections, or only times."""
    return len({place.z for place in given.places}) == 1 or len({place.t for place in given.places}) == 1


def _roi(rings: Sequence[Ring]) -> ImagejRoi:
    corners = [np.array(ring[:-1], np.float64) for ring in rings]
    outer, every = corners[0], np.concatenate(corners)
    left, top = every.min(axis=0).astype(int)
    right, bottom = every.max(axis=0).astype(int)
    roi = ImagejRoi(left=int(left), top=int(top), right=int(right), bottom=int(bottom))
    if len(corners) > 1:
        path = np.fromiter((each for ring in corners for each in _path(ring)), np.float32)
        # ImageJ knows a composite ROI by the length of its path
        roi.roitype, roi.multi_coordinates, roi.shape_roi_size = ROI_TYPE.RECT, path, len(path)
        return roi
    roi.roitype, roi.n_coordinates = ROI_TYPE.TRACED, len(outer)
    roi.integer_coordinates = (outer - (left, top)).astype(np.int32)
    if max(right, bottom) > _LARGEST_CORNER:
        roi.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        roi.subpixel_coordinates = outer.astype(np.float32)
    return roi


def _path(ring: NDArray[np.float64]) -> Iterator[float]:
    """Yields a ring as ImageJ stores it: a code for each step, and where it leads."""
    for index, (x, y) in enumerate(ring):
        yield from (_LINE if index else _MOVE, x, y)
    yield _CLOSE
