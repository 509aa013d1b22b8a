"""The trial of a packaged net: what its description does not say, and whether what it says is so.

Shape letters: K channels of the output.
"""

import numpy as np

from model.engines.engine import Array
from model.errors import UserError
from model.inputs.preprocessing import Preprocessing
from model.packages.layouts import channel_names, served_output
from model.packages.packaged_file import PackagedFile, Run
from model.packages.packaged_net import PackagedNet
from model.packages.rdf import Rdf
from model.packages.reach import measure_reach

# The test image's least side: small nets are quick, and 64 pixels are enough for an object.
LEAST_SIDE = 64
# How far values may be from probabilities, and sums of probabilities from 1.
ROUNDING = 1e-3


def try_net(rdf: Rdf, net: PackagedNet, preprocessing: Preprocessing, file: PackagedFile) -> PackagedNet:
    """The net with its reach and the channels that are served, as test images show them. Raises UserError."""
    try:
        run, passing = file.runs(net)
        net = _with_classes(rdf, net, _try_values(net, preprocessing, run))
        return net.model_copy(update={"reach": measure_reach(net, passing, run) if passing else None})
    except UserError as error:
        if str(error).startswith("outputs"):
            raise
        raise UserError(f"weights.{file.file_format}: {error}") from error
    except RuntimeError as error:
        raise UserError(f"weights.{file.file_format}: not a net of the described input") from error


def _try_values(net: PackagedNet, preprocessing: Preprocessing, run: Run) -> Array:
    """The net's values for a test image, outputs x pixels. Raises UserError if there are not as many as described."""
    side = net.padded(LEAST_SIDE)
    image = np.random.default_rng(0).integers(0, 256, (side, side, net.in_channels), np.uint8)
    values = run(preprocessing.affine(image).apply(image)[np.newaxis])
    if values.shape != (1, net.outputs, side, side) or not np.isfinite(values).all():
        shape = " x ".join(map(str, values.shape))
        raise UserError(
            f"outputs: {shape} for a test image, or not finite; accepted: 1 x {net.outputs} x {side} x {side}"
        )
    return values.reshape(net.outputs, -1)


def _with_classes(rdf: Rdf, net: PackagedNet, values: Array) -> PackagedNet:
    """The net with the channels that are served: all if they are classes, else one. Raises UserError."""
    if net.activation == "softmax":
        return net
    if net.outputs > 1 and (net.activation == "sigmoid" or np.abs(values.sum(axis=0) - 1).max() > ROUNDING):
        net = net.model_copy(update={"output": served_output(channel_names(rdf.outputs[0], net.outputs)), "classes": 1})
        values = values[net.output]
    if net.activation == "none" and (values.min() < -ROUNDING or values.max() > 1 + ROUNDING):
        raise UserError(
            f"outputs: values of {values.min():.3g} to {values.max():.3g} for a test image; accepted: probabilities, "
            "or sigmoid or softmax in postprocessing"
        )
    return net
