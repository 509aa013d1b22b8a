"""Trains the net of MONAI's 2D segmentation tutorial with the tutorial's choices.

The tutorial is `2d_segmentation/torch/unet_training_dict.py` of Project-MONAI/tutorials.
Kept from the tutorial: transforms, net, loss, optimizer, batch size, validation by mean Dice in every second epoch, and
inference by sliding windows.
Different from the tutorial:

- The training lasts a given time instead of ten epochs.
- The validation images are the last fifth of the training images by name; the tutorial has separate ones.
- Several classes get softmax, one-hot labels and argmax in place of sigmoid and threshold.
- Images smaller than a crop are padded.
- The data loader's worker processes survive an epoch, and their number is that of the threads. Both save time.

Runs in the peers' environment; see `benchmarks.datasets.environment`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset, decollate_batch, list_data_collate
from monai.inferers import sliding_window_inference
from monai.losses import DiceLoss
from monai.metrics import DiceMetric
from monai.networks.nets import UNet
from monai.transforms import (
    Activations,
    AsDiscrete,
    Compose,
    EnsureChannelFirst,
    EnsureChannelFirstd,
    LoadImage,
    LoadImaged,
    RandCropByPosNegLabeld,
    RandRotate90d,
    ScaleIntensity,
    ScaleIntensityd,
    SpatialPadd,
)
from monai.utils import set_determinism

from benchmarks.peers.training_script import WEIGHTS, Prediction, TimeIsUp, Training, channels_of, run

BATCH = 2
LEARNING_RATE = 1e-3
VALIDATION_SHARE = 0.2
EPOCHS_PER_VALIDATION = 2
WINDOWS_PER_BATCH = 4


@dataclass(frozen=True)
class Crops:
    """The pieces of images that the net sees.

    Attributes:
        side: Side in pixels, of the sliding windows as well.
        per_image: Number of random crops of each image in a batch.
    """

    side: int = 96
    per_image: int = 4

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return (self.side, self.side)


@dataclass
class Progress:
    """The state of a training: steps made, and the weights with the best validation Dice."""

    out: Path
    steps: int = 0
    kept_step: int = 0
    best: float = -1.0

    def keep(self, net: UNet, dice: float) -> None:
        """Saves the net's weights if `dice`, 0..1, is the best so far."""
        if dice > self.best:
            self.best, self.kept_step = dice, self.steps
            torch.save(net.state_dict(), self.out / WEIGHTS)


def train(training: Training, crops: Crops) -> None:
    """Trains until the time is up and leaves the weights with the best validation Dice."""
    set_determinism(training.seed)
    net = _net(training.channels, training.classes)
    progress = Progress(training.out)
    try:
        _run_epochs(training, net, progress, crops)
    except TimeIsUp:
        progress.keep(net, 0.0)  # only if no validation was completed
    training.record(steps=progress.steps, kept_step=progress.kept_step, package="monai")


def predict(prediction: Prediction, crops: Crops) -> None:
    """Segments every image with the kept weights."""
    load = Compose([LoadImage(image_only=True), EnsureChannelFirst(), ScaleIntensity()])
    net = _net(channels_of(prediction.files[0]), prediction.classes)
    net.load_state_dict(torch.load(prediction.weights / WEIGHTS, weights_only=True))
    net.eval()
    with torch.no_grad():
        for path in prediction.files:
            logits = sliding_window_inference(load(path)[None], crops.size, WINDOWS_PER_BATCH, net)[0]
            probabilities = torch.softmax(logits, 0) if len(logits) > 1 else torch.sigmoid(logits)
            # MONAI's axes are width and height
            prediction.write_result(path.stem, np.asarray(probabilities, np.float32).transpose(0, 2, 1))


def _run_epochs(training: Training, net: UNet, progress: Progress, crops: Crops) -> None:
    """Runs epochs and validations. Raises TimeIsUp."""
    several = training.classes > 2
    loss_function = DiceLoss(to_onehot_y=True, softmax=True) if several else DiceLoss(sigmoid=True)
    optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE)
    loader, validation_loader = _loaders(training, crops, scale_labels=not several)
    for epoch in count(1):
        for batch in _until_time_is_up(training, loader):
            optimizer.zero_grad()
            loss_function(net(batch["image"]), batch["label"]).backward()
            optimizer.step()
            progress.steps += 1
        if epoch % EPOCHS_PER_VALIDATION == 0:
            progress.keep(net, _validate(training, net, validation_loader, crops))


def _validate(training: Training, net: UNet, loader: DataLoader, crops: Crops) -> float:
    """Mean Dice, 0..1, over the validation images and the classes. Raises TimeIsUp."""
    several = training.classes > 2
    metric = DiceMetric(include_background=True, reduction="mean", get_not_nans=False)
    discrete = (
        AsDiscrete(argmax=True, to_onehot=training.classes)
        if several
        else Compose([Activations(sigmoid=True), AsDiscrete(threshold=0.5)])
    )
    of_label = AsDiscrete(to_onehot=training.classes if several else None)
    net.eval()
    with torch.no_grad():
        for batch in _until_time_is_up(training, loader):
            outputs = sliding_window_inference(batch["image"], crops.size, WINDOWS_PER_BATCH, net)
            found = [discrete(output) for output in decollate_batch(outputs)]
            metric(y_pred=found, y=[of_label(label) for label in decollate_batch(batch["label"])])
    net.train()
    return float(metric.aggregate().item())


def _until_time_is_up(training: Training, loader: DataLoader) -> Iterator[dict[str, torch.Tensor]]:
    """The loader's batches. Raises TimeIsUp."""
    for batch in loader:
        if training.is_over:
            raise TimeIsUp
        yield batch


def _net(channels: int, classes: int) -> UNet:
    return UNet(
        spatial_dims=2,
        in_channels=channels,
        out_channels=classes if classes > 2 else 1,
        channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        num_res_units=2,
    )


def _loaders(training: Training, crops: Crops, *, scale_labels: bool) -> tuple[DataLoader, DataLoader]:
    """Loaders of the training images (batches of random crops) and of the validation images (whole, one at a time)."""
    files = [{key: str(training.data / key / f"{name}.png") for key in ("image", "label")} for name in training.names]
    held_out = max(1, round(VALIDATION_SHARE * len(files)))
    keys = ["image", "label"]
    load: list[Any] = [
        LoadImaged(keys),
        EnsureChannelFirstd(keys),
        ScaleIntensityd(keys if scale_labels else ["image"]),
    ]
    crop: list[Any] = [
        SpatialPadd(keys, crops.size),
        RandCropByPosNegLabeld(keys, "label", crops.size, pos=1, neg=1, num_samples=crops.per_image),
        RandRotate90d(keys, prob=0.5, spatial_axes=(0, 1)),
    ]
    workers = torch.get_num_threads()
    options: dict[str, Any] = {"collate_fn": list_data_collate, "num_workers": workers, "persistent_workers": True}
    training_set = Dataset(files[:-held_out], Compose(load + crop))
    validation_set = Dataset(files[-held_out:], Compose(load))
    return (
        DataLoader(training_set, batch_size=BATCH, shuffle=True, **options),
        DataLoader(validation_set, batch_size=1, **options),
    )


def run_with(crops: Crops) -> None:
    """Parses the command line and trains or predicts with the given crops."""
    run(partial(train, crops=crops), partial(predict, crops=crops))


if __name__ == "__main__":
    run_with(Crops())
