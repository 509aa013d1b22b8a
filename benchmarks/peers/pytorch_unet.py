"""Trains Pytorch-UNet (github.com/milesial/Pytorch-UNet) as its own `train.py` does, within a given time.

Pytorch-UNet is licensed under the GPL and not part of this project.
`--source` names a copy of its repository, whose modules this script imports.
All defaults of `train_model` apply: images at half their size, batches of one image, RMSprop with a rate of 1e-5, a
tenth of the images for validation.
Different from `train.py`:

- The training ends when its time is up, not after five epochs. The weights are those of that moment: `train.py` saves
  weights after every epoch and does not choose between them.
- The net has as many input channels and classes as the data, which `train.py` asks its user to set.
- Two packages are replaced by stand-ins: wandb, because no log is wanted, and torchvision, which `train.py` imports
  but does not use.

Runs in the peers' environment; see `benchmarks.datasets.environment`.
"""

import contextlib
import importlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.peers.training_script import WEIGHTS, Prediction, TimeIsUp, Training, channels_of, run

SCALE = 0.5
EPOCHS = 10**6  # more than the time allows


class Log:
    """The part of a wandb run that `train_model` uses. Counts steps and ends the training when its time is up."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self.steps = 0
        self.config: dict[str, Any] = {}

    def log(self, values: dict[str, Any]) -> None:
        """Takes the values of a step or of a validation. Raises TimeIsUp."""
        self.steps = values["step"]
        if self._training.is_over:
            raise TimeIsUp


def train(training: Training) -> None:
    """Trains until the time is up and saves the last weights, with the class index of each output."""
    log = Log(training)
    program = _program(_source(training.source), log)
    torch.manual_seed(training.seed)
    net = program.UNet(n_channels=training.channels, n_classes=training.classes, bilinear=False)
    net = net.to(memory_format=torch.channels_last)
    with _data_in_place(training), contextlib.suppress(TimeIsUp):
        program.train_model(net, torch.device("cpu"), epochs=EPOCHS, save_checkpoint=False, img_scale=SCALE)
    torch.save({"net": net.state_dict(), "values": _label_values(training)}, training.out / WEIGHTS)
    training.record(steps=log.steps, kept_step=log.steps)


def predict(prediction: Prediction) -> None:
    """Segments every image as `predict.py` does: at half the size, with the result enlarged to the image's size."""
    program = _program(_source(prediction.source), None)
    preprocess = program.BasicDataset.preprocess
    channels = channels_of(prediction.files[0])
    net = program.UNet(n_channels=channels, n_classes=prediction.classes, bilinear=False)
    saved = torch.load(prediction.weights / WEIGHTS, weights_only=True)
    net.load_state_dict(saved["net"])
    net.eval()
    with torch.no_grad():
        for path in prediction.files:
            with Image.open(path) as image:
                size = (image.height, image.width)
                pixels = np.array(preprocess(None, image, SCALE, is_mask=False), np.float32)
            logits = F.interpolate(net(torch.from_numpy(pixels)[None]), size, mode="bilinear")
            probabilities = torch.zeros(prediction.classes, *size)
            probabilities[saved["values"]] = torch.softmax(logits[0], 0)[: len(saved["values"])]
            prediction.write_result(path.stem, probabilities.numpy())


def _source(source: Path | None) -> Path:
    if source is None or not (source / "train.py").is_file():
        raise SystemExit(f"--source {source}: a folder with Pytorch-UNet's train.py is expected")
    return source.resolve()


def _program(source: Path, log: Log | None) -> Any:
    """The module `train` of Pytorch-UNet, imported with stand-ins for wandb and torchvision."""
    sys.modules |= _stand_ins(log)
    sys.path.insert(0, str(source))
    return importlib.import_module("train")


def _stand_ins(log: Log | None) -> dict[str, ModuleType]:
    wandb: Any = ModuleType("wandb")
    wandb.init = lambda **_: log
    wandb.Histogram = wandb.Image = lambda *_: None
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    torchvision: dict[str, Any] = {name: ModuleType(name) for name in names}
    torchvision[names[0]].transforms = torchvision[names[1]]
    torchvision[names[1]].functional = torchvision[names[2]]
    return {"wandb": wandb, **torchvision}


def _label_values(training: Training) -> list[int]:
    """The class indices that the labels contain, in ascending order: what the net's outputs stand for."""
    labels = [np.array(Image.open(path)) for path in (training.data / "label").iterdir()]
    return sorted(set[int]().union(*(np.unique(label).tolist() for label in labels)))


@contextlib.contextmanager
def _data_in_place(training: Training) -> Iterator[None]:
    """Works in a folder that has the data where `train.py` looks for them."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for link, part in (("imgs", "image"), ("masks", "label")):
            Path("data").mkdir(exist_ok=True)
            Path("data", link).symlink_to(training.data / part)
        yield


if __name__ == "__main__":
    run(train, predict)
