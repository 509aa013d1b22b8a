"""ONNX: for ONNX Runtime, TensorRT, MATLAB, browsers and whatever else reads it.

Shape letters: N images, C channels, K classes, H height, W width.
"""

import io
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from model.unet import ProbabilityUNet, UNet
from model.weights_file import Weights
from training.export import parity

INPUT, OUTPUT = "image", "probabilities"


def write(weights: Weights, path: Path) -> list[str]:
    """The file, with the weights' description among its metadata; returns what the check found.

    `image`, N x C x H x W float32, preprocessed, H and W multiples of the net's stride -> `probabilities`,
    N x K x H x W. Raises ParityError, WeightsError, OSError.
    """
    path.write_bytes(to_onnx(weights.build_net(), weights.description.to_metadata()))
    onnx.checker.check_model(path, full_check=True)
    session = open_session(path.read_bytes())
    return parity.check(weights, lambda batch: np.asarray(session.run([OUTPUT], {INPUT: batch})[0]))


def to_onnx(net: UNet, metadata: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """The net as a file's bytes: free in N, H and W. `metadata`: the file's own, names and values."""
    config = net.config
    height, width = (config.stride * torch.export.Dim(name, min=1) for name in ("rows", "columns"))
    sizes = {0: torch.export.Dim("images", min=1), 2: height, 3: width}
    # a batch of one would count as fixed
    example = torch.zeros(2, config.in_channels, 2 * config.stride, 3 * config.stride)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which is not needed
    with warnings.catch_warnings(action="ignore"):  # the exporter's, about itself
        program: Any = torch.onnx.export(
            ProbabilityUNet.of(net),
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=(sizes,),
        )
    program.model.metadata_props.update(metadata)
    file = io.BytesIO()
    program.save(file)
    return file.getvalue()


def open_session(data: bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU. `threads`: that compute, 0 for one a core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or os.cpu_count() or 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
