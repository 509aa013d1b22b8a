"""The weights that a training starts from, made to fit the images at hand."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from model.segmenter import TILE, ImageTask
from model.unet import UNet
from model.weights_file import BUNDLED, Weights, load_weights
from training import losses
from training.data import DataError, Sample

# Images looked at for their contrast, and the side of the window taken from each, pixels.
_LOOKED_AT, _WINDOW = 4, 512

FIRST_LAYER = "inc.double_conv.0.weight"


def initial_weights(arguments: argparse.Namespace, samples: list[Sample]) -> Weights | None:
    """What --init names, in the contrast of the images. Raises DataError, WeightsError."""
    if not arguments.init:
        return None
    weights = load_weights(BUNDLED if arguments.init == Path("bundled") else arguments.init)
    if weights.graph is not None:
        raise DataError(
            f"{arguments.init}: a graph of 8 bits, which cannot be trained; give the weights it was made of"
        )
    for option in ("width", "channels"):
        if getattr(arguments, option) is not None:
            raise DataError(f"--{option} does not go with --init: the net is that of the weights, {weights.label}")
    classes = weights.description.architecture.classes
    if classes != arguments.scheme.classes:
        raise DataError(f"{weights.label} is of {classes} class(es), --classes of {arguments.scheme.classes}")
    if weights.description.preprocessing.channels == "stored":
        _check_channels(weights, samples)
    return in_contrast_of(weights, samples)


def _check_channels(weights: Weights, samples: list[Sample]) -> None:
    """Raises DataError if an image has other channels than the net takes."""
    wanted = weights.description.architecture.in_channels
    for sample in samples:
        if (1 if sample.pixels.ndim == 2 else sample.pixels.shape[2]) != wanted:
            raise DataError(f"{weights.label} takes images of {wanted} channels; {sample.name} has another number")


def in_contrast_of(weights: Weights, samples: list[Sample]) -> Weights:
    """The weights as they are, or, if they fit the samples better so, with the sign of the first layer turned.

    A net of z-scored input sees an image of inverted contrast as the negative of what it knows. Turning the first
    layer's weights is the same as turning the input, so that such a training starts from what was learned.
    """
    if weights.description.preprocessing.normalisation != "zscore":
        return weights
    turned = replace(weights, tensors=weights.tensors | {FIRST_LAYER: -weights.tensors[FIRST_LAYER]})
    return min(weights, turned, key=lambda each: _loss(each, samples))


@torch.inference_mode()
def _loss(weights: Weights, samples: list[Sample]) -> float:
    """Mean cross-entropy over windows of a few samples."""
    net = weights.build_net()
    return float(np.mean([_loss_of(net, weights, sample) for sample in samples[:_LOOKED_AT]]))


def _loss_of(net: UNet, weights: Weights, sample: Sample) -> float:
    height, width = (min(side, _WINDOW) for side in sample.label.shape)
    task = ImageTask(sample.pixels[:height, :width], weights.description, TILE)
    logits = net(torch.from_numpy(task.cut(task.tiles[0]).to_input()[None]))[:, :, :height, :width]
    label = torch.from_numpy(sample.label[None, None, :height, :width].astype(np.float32))
    loss = losses.bce if net.config.classes == 1 else losses.cross_entropy
    return float(loss(logits, label, torch.ones(())))
