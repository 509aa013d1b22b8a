"""Turns an inference request into images and tasks, and their results into a response.

Shape letters: N images, C channels, K classes, H height, W width.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.compression import deflate, inflate
from app.decode import decode, measure
from app.open_inference.metadata import VERSION
from app.open_inference.pixels import to_images
from app.open_inference.protocol import ImageInput, OutputName, PixelInput, bad_request, read_request
from app.open_inference.tensors import MOST_JSON_VALUES, OutputTensor, read_files, read_pixels, to_binary, to_json
from app.pipeline import make_tasks
from app.served_net import ServedNet
from app.settings import Settings
from app.upload import Upload
from model.images.encoding import encode_png
from model.images.tiff_directories import MAX_PAGES
from model.inputs.net_input import NetInput
from model.inputs.preprocessing import Values
from model.segmenter import ImageTask, Render, as_they_are, to_mask


@dataclass(frozen=True)
class Asked:
    """The outputs that a request asks for, and whether each is sent as binary data."""

    id: str | None
    wanted: Mapping[OutputName, bool]
    threshold: float


@dataclass(frozen=True)
class Answer:
    """A response's body and headers."""

    data: bytes
    media_type: str
    headers: Mapping[str, str]


def prepare(
    settings: Settings, net: ServedNet, upload: Upload, headers: Mapping[str, str]
) -> tuple[Asked, list[ImageTask]]:
    """Makes a task for each image of a request and frees the upload's bytes. Raises Problem, Overloaded."""
    body = inflate(upload.take(), headers.get("content-encoding", ""), settings.max_body_bytes)
    request, binary = read_request(body, headers.get("inference-header-content-length"))
    (tensor,) = request.inputs
    if tensor.shape[0] > MAX_PAGES:
        raise bad_request(f"More than {MAX_PAGES} images are not accepted at once.")
    if isinstance(tensor, ImageInput):
        inputs = _decode(settings, net, read_files(tensor, binary))
    else:
        inputs = _convert(settings, net, tensor, binary)
    description, given = net.description, request.parameters.threshold
    asked = Asked(request.id, request.wanted, description.threshold if given is None else given)
    _check_outputs(asked, [each.pages[0] for each in inputs], description.architecture.classes)
    return asked, [task for each in inputs for task in make_tasks(net, each, _renderer(asked))]


def encode(net: ServedNet, accepted_encoding: str, asked: Asked, tasks: Sequence[ImageTask]) -> Answer:
    """The outputs that are wanted of the tasks' results."""
    results = [task.result for task in tasks]
    masks = [result if result.dtype == np.uint8 else to_mask(result, asked.threshold) for result in results]
    described, binary = [], []
    for name, as_binary in asked.wanted.items():
        tensor = _tensor(name, results, masks)
        head, data = to_binary(tensor) if as_binary else (to_json(tensor), [])
        described.append(head)
        binary += data
    named = {"model_name": net.description.name, "model_version": VERSION}
    named |= {} if asked.id is None else {"id": asked.id}
    text = b'%b,"outputs":[%b]}' % (json.dumps(named)[:-1].encode(), b",".join(described))
    body, headers = deflate(b"".join([text, *binary]), accepted_encoding)
    if not any(asked.wanted.values()):
        return Answer(body, "application/json", headers)
    return Answer(body, "application/octet-stream", headers | {"Inference-Header-Content-Length": str(len(text))})


def _decode(settings: Settings, net: ServedNet, files: Sequence[bytes]) -> list[NetInput]:
    images = [measure(file, settings.max_pixels) for file in files]
    if any(image.header.pages > 1 for image in images):
        raise bad_request("Each element of image is a file of one page.")
    pixels = sum(image.header.pixels for image in images)
    _check_pixels(settings, pixels)
    with net.reserved(pixels):
        return [decode(image, net.description) for image in images]


def _convert(settings: Settings, net: ServedNet, tensor: PixelInput, binary: memoryview) -> list[NetInput]:
    count, _, height, width = tensor.shape
    _check_pixels(settings, count * height * width)
    with net.reserved(count * height * width):
        return [NetInput([image]) for image in to_images(read_pixels(tensor, binary), net.description)]


def _check_pixels(settings: Settings, pixels: int) -> None:
    most = settings.max_pixels
    if pixels > most:
        raise bad_request(f"The images have {pixels} pixels, more than {most} in all.")


def _check_outputs(asked: Asked, images: Sequence[Values], classes: int) -> None:
    """Raises Problem, 400, if an output would be no tensor, or JSON beyond all measure."""
    tensors = [name for name in asked.wanted if name != "mask_png"]
    if tensors and len({image.shape[:2] for image in images}) > 1:
        raise bad_request("Images of several sizes make no tensor: ask only for mask_png, or send one image at a time.")
    planes = {"mask": 1, "probability": classes}
    in_json = sum(planes[name] for name in tensors if not asked.wanted[name])
    if in_json * sum(image.shape[0] * image.shape[1] for image in images) > MOST_JSON_VALUES:
        raise bad_request(f"JSON would hold more than {MOST_JSON_VALUES} values: ask for binary data.")


def _renderer(asked: Asked) -> Render:
    """The probabilities are kept only where they are wanted."""
    if "probability" in asked.wanted:
        return as_they_are
    return partial(to_mask, threshold=asked.threshold)


def _tensor(name: OutputName, results: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.uint8]]) -> OutputTensor:
    """An output. `results`: as rendered, `masks`: H x W; of N images."""
    count = len(masks)
    if name == "mask":
        return OutputTensor(name, "UINT8", [count, 1, *masks[0].shape], masks)
    if name == "probability":
        return OutputTensor(name, "FP32", [count, *results[0].shape], results)
    return OutputTensor(name, "BYTES", [count], [encode_png(mask) for mask in masks])
