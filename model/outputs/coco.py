"""Objects as COCO annotations: a box, an area and a run-length mask each."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from model.outputs.objects import Ids, class_of_each


def annotations(pages: Sequence[tuple[Ids, NDArray[np.uint8]]], labels: Mapping[int, str], name: str) -> dict[str, Any]:
    """Returns the content of a COCO file.

    `images` has the pages, `categories` the classes, `annotations` the objects with compressed RLE counts. The ids of
    annotations count through all pages, and `object_id` is the id that the object has on its page in other outputs.

    Args:
        pages: Ids and mask of each page.
        labels: The meaning of the mask's values.
        name: The image's file name; several pages have it in common, and a `page` each, from 0.
    """
    numbers = [{"page": page} if len(pages) > 1 else {} for page in range(len(pages))]
    found = [each for page, (ids, mask) in enumerate(pages) for each in _objects(ids, mask, page + 1)]
    values = labels.keys() | {each["category_id"] for each in found}
    return {
        "images": [
            {"id": page + 1, "file_name": name, "height": ids.shape[0], "width": ids.shape[1], **numbers[page]}
            for page, (ids, _) in enumerate(pages)
        ],
        "categories": [{"id": value, "name": labels.get(value, str(value))} for value in sorted(values) if value],
        "annotations": [{"id": number, **each} for number, each in enumerate(found, start=1)],
    }


def _objects(ids: Ids, mask: NDArray[np.uint8], image_id: int) -> Iterator[dict[str, Any]]:
    values = class_of_each(ids, mask)
    height, width = ids.shape
    for index, counts in enumerate(_run_lengths(ids), start=1):
        rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        yield {
            "image_id": image_id,
            "object_id": index,
            "category_id": int(values[index]),
            "segmentation": {"size": [height, width], "counts": rle["counts"].decode("ascii")},
            "bbox": coco_mask.toBbox(rle).tolist(),
            "area": int(coco_mask.area(rle)),
            "iscrowd": 0,
        }


def _run_lengths(ids: Ids) -> Iterator[list[int]]:
    """Returns run lengths of each object from 1 on: pixels outside, inside, outside, ... column by column."""
    flat = ids.ravel(order="F")
    first = np.flatnonzero(np.diff(flat, prepend=0))
    end = np.append(first[1:], flat.size)
    of_run = flat[first]
    order = np.argsort(of_run, kind="stable")
    first, end, of_run = first[order], end[order], of_run[order]
    bounds = np.searchsorted(of_run, np.arange(1, flat.max() + 2))
    for low, high in pairwise(bounds):
        edges = np.stack([first[low:high], end[low:high]], axis=1).ravel()
        yield np.diff(edges, prepend=0, append=flat.size).tolist()
