"""OpenVINO graphs (an .xml and a .bin) for programs that run OpenVINO; 8-bit graphs are also for the service.

Shape letters: N images, C channels, K classes, H height, W width.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import openvino
from pydantic import JsonValue

from model.engines.engine import Array
from model.engines.openvino import OpenVinoEngine, read_graph, resampling, to_graph
from model.segmenter import ImageTask, to_mask
from model.weights_file import METADATA_KEY, Weights
from training.data.folder import load_images
from training.data.image_reader import ImageReader
from training.export import parity

# Side in pixels (if two halos fit) and number of the windows on which the ranges of the activations are measured.
WINDOW, WINDOWS = 512, 48


def write(weights: Weights, path: Path) -> list[str]:
    """N x C x H x W float32, preprocessed and H and W multiples of the net's grid -> N x K x H x W probabilities.

    Returns what the check found. Raises ParityError, WeightsError, EngineError (nets with aligned corners), OSError.
    """
    _save(to_graph(weights.build_net()), weights, path, {})
    graph = read_graph(path.read_bytes(), path.with_suffix(".bin").read_bytes())
    return parity.check(weights, OpenVinoEngine(graph, "fp32").run)


def write_int8(weights: Weights, folder: Path, path: Path, channel: str = "") -> list[str]:
    """Quantises by NNCF's post-training quantisation, on images of a folder.

    `channel` chooses one of images with several; "" for the channel of the training, or the first.

    A net's own resampling stays in floating point: rounding the logits to 8 bits before they are interpolated would
    cost accuracy and save no time.

    Returns:
        A line that reports how many pixels int8 decides differently from fp32, after one about unread channels.

    Raises:
        DataError, WeightsError, ValueError, OSError
    """
    reader = ImageReader.suited_to(weights.description, channel)
    windows = calibration_windows(weights, folder, reader)
    import nncf

    nncf.set_log_level(logging.ERROR)
    graph = to_graph(weights.build_net())
    # In a thread that ends with it: NNCF makes Cores, and what they do to signals (see `model.engines.openvino`) stays
    # with their thread. Mixed: activations that may be negative, those of the image, get ranges that are not symmetric.
    with ThreadPoolExecutor(max_workers=1) as thread:
        quantised = thread.submit(
            nncf.quantize,
            graph,
            nncf.Dataset(windows),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(windows),
            ignored_scope=nncf.IgnoredScope(names=[node.get_friendly_name() for node in resampling(graph)]),
        ).result()
    versions = {name: metadata.version(name) for name in ("nncf", "openvino")}
    made: dict[str, JsonValue] = {"from": weights.sha256, "windows": len(windows), **versions}
    _save(quantised, weights, path, {"quantised": made})
    engines = OpenVinoEngine(graph, "fp32"), OpenVinoEngine(quantised, "int8")
    changed = [_changed(weights.description.threshold, *(engine.run(one) for engine in engines)) for one in windows]
    found = f"int8 decides {np.mean(changed):.2%} of the pixels differently from fp32, {max(changed):.2%} at worst"
    return [*reader.notes(), found]


def calibration_windows(weights: Weights, folder: Path, reader: ImageReader) -> list[Array]:
    """Windows from all over the folder's images, preprocessed, 1 x C x H x W float32. Raises DataError, ValueError."""
    side = max(WINDOW, 3 * weights.description.architecture.halo)
    tasks = [ImageTask(pixels, weights.description, side) for pixels in load_images(folder, WINDOWS, reader)]
    places = [(task, tile) for task in tasks for tile in task.tiles]
    chosen = np.linspace(0, len(places) - 1, min(WINDOWS, len(places))).round().astype(int)
    return [places[index][0].cut(places[index][1]).to_input()[None] for index in chosen]


def _changed(threshold: float, one: Array, other: Array) -> float:
    """The share of an image's pixels that two engines decide differently."""
    return float((to_mask(one[0], threshold) != to_mask(other[0], threshold)).mean())


def _save(graph: openvino.Model, weights: Weights, path: Path, provenance: dict[str, JsonValue]) -> None:
    """The .xml, with the description in it, and the .bin."""
    description = weights.description
    described = description.model_copy(update={"provenance": description.provenance | provenance})
    graph.set_rt_info(described.to_metadata()[METADATA_KEY], METADATA_KEY)
    openvino.save_model(graph, path, compress_to_fp16=False)
