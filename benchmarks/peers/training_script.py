"""Frame of the scripts that train another project's net: arguments, data folder, clock, results.

A script has two commands.
`train` reads `DIR/image/*.png` and `DIR/label/*.png` and writes its weights and `RECORD` into `--out`.
`predict` writes one PNG for each image into `--out`.
The scripts run in a virtual environment of their own, so this module needs only NumPy, Pillow and the standard library.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RECORD = "record.json"
WEIGHTS = "weights.pt"


class TimeIsUp(Exception):
    """The time given to the training has passed."""


@dataclass(frozen=True)
class Training:
    """One training of a peer.

    Attributes:
        data: Folder with `image/NAME.png` (uint8, grey or RGB) and `label/NAME.png` (uint8 class
            indices, 0 is background).
        out: Folder for `WEIGHTS` and `RECORD`.
        until: Unix time in seconds at which the training must end.
        seed: Seed of every random generator.
        classes: Number of classes, the background included; 2 for foreground and background.
        source: Folder with the peer's own program; None if the peer is an installed package.
    """

    data: Path
    out: Path
    until: float
    seed: int
    classes: int
    source: Path | None

    @property
    def names(self) -> list[str]:
        """Image names without suffix, in alphabetical order."""
        return sorted(path.stem for path in (self.data / "image").iterdir())

    @property
    def channels(self) -> int:
        """Number of channels of the images: 1 for grey, 3 for RGB."""
        return channels_of(next((self.data / "image").iterdir()))

    @property
    def is_over(self) -> bool:
        """True when the time given to the training has passed."""
        return time.time() >= self.until

    def record(self, *, steps: int, kept_step: int, package: str = "") -> None:
        """Writes `RECORD`: steps made, the step whose weights are kept, and the version of the peer's package."""
        record = {"steps": steps, "kept_step": kept_step, "torch": metadata.version("torch")}
        if package:
            record[package] = metadata.version(package)
        (self.out / RECORD).write_text(json.dumps(record))


@dataclass(frozen=True)
class Prediction:
    """One folder of images that a peer must segment.

    Attributes:
        weights: Folder that `Training.out` named.
        images: Folder of PNG images.
        out: Folder for the results, see `write_result`.
        classes: As in `Training`.
        source: As in `Training`.
    """

    weights: Path
    images: Path
    out: Path
    classes: int
    source: Path | None

    @property
    def files(self) -> list[Path]:
        """The images, in alphabetical order."""
        return sorted(self.images.iterdir())

    def write_result(self, name: str, probabilities: NDArray[np.float32]) -> None:
        """Writes the result of one image.

        Args:
            name: The image's name without suffix.
            probabilities: K x H x W in 0..1, one for each class; or 1 x H x W, of the foreground.

        With two classes or one channel the PNG holds the foreground's probability (uint16, 65535 = 1.0), otherwise
        class indices (uint8).
        """
        if len(probabilities) > 2:
            pixels = probabilities.argmax(axis=0).astype(np.uint8)
        else:
            pixels = np.rint(probabilities[-1] * 65535).astype(np.uint16)
        Image.fromarray(pixels).save(self.out / f"{name}.png")


def channels_of(image: Path) -> int:
    """Number of channels of an image file."""
    with Image.open(image) as opened:
        return len(opened.getbands())


def run(train: Callable[[Training], None], predict: Callable[[Prediction], None]) -> None:
    """Parses the command line and runs one of the two commands."""
    given = vars(_parser().parse_args())
    # a script may change its working directory
    arguments: dict[str, Any] = {
        name: value.resolve() if isinstance(value, Path) else value for name, value in given.items()
    }
    command = arguments.pop("command")
    arguments["out"].mkdir(parents=True, exist_ok=True)
    if command == "train":
        train(Training(**arguments))
    else:
        predict(Prediction(**arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    train, predict = commands.add_parser("train"), commands.add_parser("predict")
    options: dict[str, dict[str, Any]] = {"--data": {"type": Path}, "--until": {"type": float}, "--seed": {"type": int}}
    for option, settings in options.items():
        train.add_argument(option, required=True, **settings)
    for option in ("--weights", "--images"):
        predict.add_argument(option, required=True, type=Path)
    for command in (train, predict):
        command.add_argument("--out", required=True, type=Path)
        command.add_argument("--classes", required=True, type=int)
        command.add_argument("--source", type=Path)
    return parser
