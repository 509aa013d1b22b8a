"""The net in OpenVINO, on the CPU: faster there than torch, and the only engine for int8.

A graph (OpenVINO's name for a net: an .xml of its layers and a .bin of its weights) takes an image and gives its
probabilities. It is made from a torch net, or read from what `training.export` wrote.

Shape letters: N tiles, C channels, K classes, H height, W width.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino import properties
from openvino.properties import hint

from model.engines.engine import Array, EngineError
from model.engines.tracing import forget_traces, trace
from model.tiles import Window, decoder_crops
from model.unet import UNet

TYPES = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}

# Two images of 512 x 512 keep no CPU busier than one.
BATCH_PIXELS = 512 * 512

# Runs at once. Two, each with half the threads, fill each other's gaps and those that decoding and encoding leave;
# more would only make each of them slower.
STREAMS = 2


# Bytes of activations that a request keeps, per pixel, channel of the first layer, and byte of a number: measured for
# widths 16, 32 and 64 in int8, bf16 and fp32, see `python -m benchmarks.several_nets`.
ACTIVATIONS = 8
CONVOLUTIONS = ("Convolution", "GroupConvolution")

# Prepared layers that a stream keeps for shapes it has seen. OpenVINO's own 5000 would take gigabytes if images have
# many sizes. A net has about 30 layers, so the layers of the last eight shapes are kept.
CACHED_LAYERS = 256

# OpenVINO's binding makes the type of a shape's iterator when the first shape is read. Threads that read their first
# shapes at once would fail with a TypeError, so this thread reads one.
tuple(openvino.Shape([1]))

# A service may convert several nets at once; none of them may be in use while traces are forgotten.
_tracing = threading.Lock()


class OpenVinoEngine:
    """The `Engine` of OpenVINO. The sides of its windows are multiples of the net's grid.

    A run on an idle engine uses all threads, which gives the lowest latency. Other runs use one stream each, with its
    part of the threads. A batch of more than `batch_pixels` waits until it can use all threads, because two such
    batches at once would take twice the memory.
    """

    name, device = "openvino", "cpu"

    def __init__(self, graph: openvino.Model, precision: str, threads: int = 0, *, crops_decoder: bool = True) -> None:
        """Compiles a graph for runs with all threads; what other runs need is compiled for the first of them.

        Args:
            graph: N x C x H x W -> N x K x H x W.
            precision: fp32, bf16, or int8 for a quantised graph.
            threads: 0 for one a core.
            crops_decoder: False to crop only the result.
        """
        self.precision = precision
        threads = threads or os.cpu_count() or 1
        self.streams = min(STREAMS, threads)
        joins = _joins(graph) if crops_decoder else []
        self._depth, self._downsampling = len(joins), _downsampling(graph) if crops_decoder else 1
        # The net computes at its own scale, so the chip is busy from that scale's number of pixels up.
        self.batch_pixels = BATCH_PIXELS * self._downsampling**2
        self._config = {
            properties.inference_num_threads: threads,
            hint.enable_cpu_pinning: False,
            "CPU_RUNTIME_CACHE_CAPACITY": CACHED_LAYERS,
            hint.inference_precision: TYPES[choose_precision("auto") if precision == "int8" else precision],
        }
        self._graph, self._crops_decoder = graph, crops_decoder
        self._undivided = self._compile(graph, streams=1).create_infer_request()
        self._bytes_per_pixel = _activations(graph, precision) / self._downsampling**2
        self._weights_bytes = _constants(graph)
        self._cropping_pixels = 0  # of the largest batch of `_cropping` since its memory was released
        self._all_threads, self._counting, self._running = threading.Lock(), threading.Lock(), 0
        self._compiling = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """The weights, and the activations of each request for batches of up to `batch_pixels`, and of large ones."""
        pixels = (1 + self.streams) * self.batch_pixels + self._cropping_pixels
        return self._weights_bytes + round(pixels * self._bytes_per_pixel)

    def release_memory(self) -> None:
        with self._all_threads:
            if self._cropping_pixels:
                self._cropping_net.release_memory()
            self._cropping_pixels = 0

    def run(self, batch: Array, kept: Window | None = None) -> Array:
        batch = np.ascontiguousarray(batch)
        height, width = batch.shape[-2:]
        whole = ((0, height), (0, width))
        with self._alone() as alone:
            # All large windows, also whole ones, take this path: each path keeps the memory that it once allocated.
            if batch.shape[0] * height * width > self.batch_pixels or kept not in (None, whole):
                crops = decoder_crops(kept or whole, (height, width), self._depth, self._downsampling)
                with self._all_threads:
                    self._cropping_pixels = max(self._cropping_pixels, batch.shape[0] * height * width)
                    return _infer(self._cropping, batch, crops)
            if alone or self.streams == 1:
                with self._all_threads:
                    return _infer(self._undivided, batch)
            with self._compiling:
                idle = self._idle
            request = idle.get()
            try:
                return _infer(request, batch)
            finally:
                idle.put(request)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Yields True if no other run was in progress at the start."""
        with self._counting:
            alone = not self._running
            self._running += 1
        try:
            yield alone
        finally:
            with self._counting:
                self._running -= 1

    @cached_property
    def _idle(self) -> SimpleQueue[openvino.InferRequest]:
        """The requests that are not running, one for each stream."""
        divided, idle = self._compile(self._graph, self.streams), SimpleQueue[openvino.InferRequest]()
        for _ in range(self.streams):
            idle.put(divided.create_infer_request())
        return idle

    @cached_property
    def _cropping_net(self) -> openvino.CompiledModel:
        crop = _crop_decoder if self._crops_decoder else _crop_result
        return self._compile(crop(self._graph), streams=1)

    @cached_property
    def _cropping(self) -> openvino.InferRequest:
        return self._cropping_net.create_infer_request()

    def _compile(self, graph: openvino.Model, streams: int) -> openvino.CompiledModel:
        return the_core().compile_model(graph, "CPU", self._config | {properties.num_streams: streams})


@cache
def the_core() -> openvino.Core:
    """Returns the only Core of the process, which is never destroyed.

    Each Core gives the thread that creates it a stack for signals, and restores the previous stack when it is
    destroyed. If two Cores are destroyed in the order of their creation, the thread is left with a stack that no
    longer exists. The next handled signal, such as SIGCHLD, would then kill the process.
    """
    return openvino.Core()


def _infer(request: openvino.InferRequest, *inputs: NDArray[Any]) -> Array:
    probabilities: Array = request.infer(list(inputs), share_outputs=True)[0].copy()
    return probabilities


def choose_precision(wanted: str) -> str:
    """Resolves "auto": bf16 if the chip multiplies in bf16, else fp32. Raises EngineError for other precisions."""
    if wanted == "auto":
        return "bf16" if "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "fp32"
    if wanted not in TYPES:
        raise EngineError(f"precision {wanted!r} is not one of the openvino engine's: auto, {', '.join(TYPES)}")
    return wanted


def has_int8() -> bool:
    """Returns True if the chip is faster in 8 bits."""
    return "INT8" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def to_graph(net: UNet) -> openvino.Model:
    """N x C x H x W float32, H and W multiples of the grid -> N x K x H x W float32 probabilities."""
    with _tracing:
        # with a copy of the weights, so that the graph keeps nothing of torch
        graph = openvino.convert_model(trace(net), input=[-1, net.config.in_channels, -1, -1], share_weights=False)
        forget_traces()
    graph.inputs[0].set_names({"image"})
    graph.outputs[0].set_names({"probabilities"})
    return graph


def read_graph(xml: bytes, weights: bytes) -> openvino.Model:
    """Raises RuntimeError if they are broken."""
    return the_core().read_model(model=xml, weights=weights)


def is_int8(graph: openvino.Model) -> bool:
    """Returns True if the graph is quantised to 8 bits."""
    return any(node.get_type_name() == "FakeQuantize" for node in graph.get_ops())


def broken_constants(graph: openvino.Model) -> list[str]:
    """The names of the constants that hold values that are not finite."""
    constants = [node for node in graph.get_ops() if node.get_type_name() == "Constant"]
    fractions = [node for node in constants if node.get_element_type().is_real()]
    return [node.get_friendly_name() for node in fractions if not np.isfinite(node.get_data(dtype=np.float32)).all()]


def _activations(graph: openvino.Model, precision: str) -> float:
    """Returns the bytes of activations that a request keeps per pixel at the net's own scale."""
    convolutions = [node for node in graph.get_ordered_ops() if node.get_type_name() in CONVOLUTIONS]
    channels = convolutions[0].get_output_partial_shape(0)[1].get_length() if convolutions else 1
    return float(ACTIVATIONS * channels * {"int8": 1, "bf16": 2, "fp32": 4}[precision])


def _constants(graph: openvino.Model) -> int:
    """Returns the bytes of the weights."""
    constants = [node for node in graph.get_ops() if node.get_type_name() == "Constant"]
    return sum(node.get_byte_size() for node in constants)


def _joins(graph: openvino.Model) -> list[openvino.Node]:
    """Where the decoder joins the encoder's maps, full resolution first."""
    maps = [node for node in graph.get_ordered_ops() if node.get_type_name() == "Concat"]
    return [node for node in reversed(maps) if node.get_output_partial_shape(0).rank.get_length() == 4]


def resampling(graph: openvino.Model) -> list[openvino.Node]:
    """The nodes that average the image and upsample the logits, in this order; none if the net keeps the scale."""
    nodes = graph.get_ordered_ops()
    averages = [node for node in nodes if node.get_type_name() == "AvgPool"]
    upsamplings = [node for node in nodes if node.get_type_name() == "Interpolate"]
    return [averages[0], upsamplings[-1]] if averages else []


def _downsampling(graph: openvino.Model) -> int:
    """The net's `UNetConfig.downsampling`: the side of the squares that the graph averages, or 1."""
    return int(resampling(graph)[0].get_attributes()["kernel"][0]) if resampling(graph) else 1


def _crop_decoder(graph: openvino.Model) -> openvino.Model:
    """A copy of the graph with a second input, the `decoder_crops`."""
    graph, crops = graph.clone(), _crops()
    for level, node in enumerate(_joins(graph)):
        for side in (0, 1):
            _crop(node.input(side), crops, 2 * level + side)
    if nodes := resampling(graph):
        _crop(nodes[-1].input(0), crops, -2)
    return _with_crops(graph, crops)


def _crop_result(graph: openvino.Model) -> openvino.Model:
    """A copy of the graph with a second input, the `decoder_crops` of a net without levels."""
    return _with_crops(graph.clone(), _crops())


def _crops() -> openvino.Node:
    return ops.parameter([-1, 2, 2], np.int64, name="crops")


def _with_crops(graph: openvino.Model, crops: openvino.Node) -> openvino.Model:
    _crop(graph.get_results()[0].input(0), crops, -1)
    graph.add_parameters([crops])
    graph.validate_nodes_and_infer_types()
    return graph


def _crop(port: openvino.Input, crops: openvino.Node, index: int) -> None:
    """Inserts a slice before an input of a node."""
    zero, one, axes = (ops.constant(np.array(value, np.int64)) for value in (0, 1, (2, 3)))
    ends = ops.gather(crops, ops.constant(np.int64(index)), zero)
    first, end = ops.gather(ends, zero, one), ops.gather(ends, one, one)
    steps = ops.constant(np.ones(2, np.int64))
    port.replace_source_output(ops.slice(port.get_source_output(), first, end, steps, axes).output(0))
