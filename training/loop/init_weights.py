"""The weights that a training starts from, adapted to the images and labels of the training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from model.segmenter import TILE, ImageTask
from model.unet import UNet
from model.weights_file import BUNDLED, Description, Weights, load_weights
from training.data.fingerprint import choose_channels
from training.data.folder import IGNORED, Sample
from training.data.labels.label_scheme import name_classes
from training.data_error import DataError
from training.loop import losses

# Images looked at for their contrast, and the side of the window taken from each, pixels.
_LOOKED_AT, _WINDOW = 4, 512

FIRST_LAYER, LAST_LAYER = "inc.double_conv.0.weight", "outc."

# Shares of red, green and blue in a grey value (ITU-R BT.601), as OpenCV converts colour images. They add up to 1.
_LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Init:
    """The adapted weights of `--init`, and one line for each layer that had to change."""

    weights: Weights
    changes: tuple[str, ...] = ()


def initial_weights(
    init: Path,
    samples: list[Sample],
    *,
    classes: int,
    labels: Sequence[str] = (),
    channels: Literal["grey", "rgb"] | None = None,
    seed: int = 0,
) -> Init:
    """Loads the weights of `--init` and fits them to the channels, the classes and the contrast of the samples.

    Args:
        init: Path of the weights file, or "bundled".
        samples: Images and labels of the training.
        classes: Number of classes of the labels.
        labels: Names of the mask's values.
        channels: Channels that the net must take; None to decide from the images.
        seed: Seed of a new last layer.

    Raises:
        DataError: An option does not go with `--init`, or the weights cannot be adapted.
        WeightsError: The weights file cannot be read.
    """
    weights = load_weights(BUNDLED if init == Path("bundled") else init)
    changes: list[str] = []
    if weights.description.preprocessing.channels == "stored":
        _check_channels(weights, samples, channels)
    else:
        weights = with_channels(weights, choose_channels(channels, samples), changes)
    if weights.description.architecture.classes == classes:
        return Init(in_contrast_of(weights, samples), tuple(changes))
    # what the weights say of themselves is about classes that the new layer does not have
    update: dict[str, Any] = {"labels": name_classes(classes, labels), "threshold": 0.5, "card": None}
    update |= {"objects": "regions", "seed_depth": None, "min_area": 0}
    weights = with_classes(weights, classes, seed, update, changes)
    return Init(weights, tuple(changes))


def _check_channels(weights: Weights, samples: list[Sample], asked: str | None) -> None:
    """Raises DataError if weights for stored channels get other images, or are asked to take grey or RGB."""
    if asked:
        raise DataError(f"--channels does not go with --init: {weights.label} takes the channels as they are stored")
    wanted = weights.description.architecture.in_channels
    for sample in samples:
        channels = 1 if sample.pixels.ndim == 2 else sample.pixels.shape[2]
        if channels != wanted:
            raise DataError(
                f"--init: {weights.label} takes images of {wanted} channels, {sample.name} has {channels}; "
                "train without --init"
            )


def with_channels(weights: Weights, channels: Literal["grey", "rgb"], changes: list[str]) -> Weights:
    """Makes the first layer take grey or RGB images; a grey image then still gives the same result.

    From grey to RGB, the weights are spread over the channels by their share in a grey value. From RGB to grey, the
    weights of the channels are added up. A line about the change is appended to `changes`.
    """
    description = weights.description
    if description.preprocessing.channels == channels:
        return weights
    first = weights.tensors[FIRST_LAYER]
    if channels == "rgb":
        shares = torch.tensor(_LUMINANCE, dtype=first.dtype).reshape(1, 3, 1, 1)
        first = first * shares
        changes.append(f"--init: the first layer of {weights.label} is widened from grey to RGB")
    else:
        first = first.sum(dim=1, keepdim=True)
        changes.append(f"--init: the first layer of {weights.label} is reduced from RGB to grey")
    update = {
        "architecture": description.unet.model_copy(update={"in_channels": first.shape[1]}),
        "preprocessing": description.preprocessing.model_copy(update={"channels": channels}),
    }
    tensors = weights.tensors | {FIRST_LAYER: first}
    return replace(weights, tensors=tensors, description=description.model_copy(update=update))


def with_classes(weights: Weights, classes: int, seed: int, update: dict[str, Any], changes: list[str]) -> Weights:
    """Replaces the last layer by a new one for another number of classes, drawn from the seed.

    Args:
        weights: Weights with another number of classes.
        classes: Number of classes of the labels.
        seed: Seed of the new layer.
        update: Other fields of the description to replace.
        changes: Gets a line about the change.
    """
    architecture = weights.description.unet.model_copy(update={"classes": classes})
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        fresh = UNet(architecture).state_dict()
    last = {name: tensor for name, tensor in fresh.items() if name.startswith(LAST_LAYER)}
    known = f"{weights.label} has {weights.description.architecture.classes} class(es), the labels have {classes}"
    changes.append(f"--init: the last layer is new, because {known}")
    description = weights.description.model_copy(update=update | {"architecture": architecture})
    return replace(weights, tensors=weights.tensors | last, description=description)


def in_contrast_of(weights: Weights, samples: list[Sample]) -> Weights:
    """Returns the weights unchanged or, if that fits the samples better, with the sign of the first layer turned.

    To a net with z-scored input, an image of inverted contrast is the negative of what the net knows. Turning the first
    layer's weights is the same as turning the input, so that the training starts from what was learned.
    """
    if weights.description.preprocessing.normalisation != "zscore":
        return weights
    turned = replace(weights, tensors=weights.tensors | {FIRST_LAYER: -weights.tensors[FIRST_LAYER]})

    def loss(each: Weights) -> float:
        return mean_loss(each.build_net(), each.description, samples[:_LOOKED_AT])

    return min(weights, turned, key=loss)


@torch.inference_mode()
def mean_loss(net: UNet, description: Description, samples: Sequence[Sample]) -> float:
    """Mean cross-entropy over the samples' upper left windows of at most 512 x 512 pixels; ignored pixels count 0.

    Args:
        net: Net in evaluation mode, on any device.
        description: Preprocessing of the net.
        samples: At least one sample.
    """
    return float(np.mean([_loss_of(net, description, sample) for sample in samples]))


def _loss_of(net: UNet, description: Description, sample: Sample) -> float:
    height, width = (min(side, _WINDOW) for side in sample.label.shape)
    task = ImageTask(sample.pixels[:height, :width], description, TILE, bits=sample.bits)
    image = torch.from_numpy(task.cut(task.tiles[0]).to_input()[None])
    logits = net(image.to(next(net.parameters()).device))[:, :, :height, :width].float().cpu()
    label = sample.label[None, None, :height, :width]
    counted = torch.from_numpy((label != IGNORED).astype(np.float32))
    target = torch.from_numpy(np.where(label == IGNORED, 0, label).astype(np.float32))
    loss = losses.bce if net.config.classes == 1 else losses.cross_entropy
    return float(loss(logits, target, counted))
