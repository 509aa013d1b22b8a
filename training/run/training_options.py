"""The options of a training, typed."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from model.outputs.objects import Objects
from training.data.card_options import CardOptions
from training.data.labels.label_options import LabelOptions, scheme_of
from training.data.labels.label_scheme import LabelScheme
from training.scoring.objective import Objective


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(LabelOptions, CardOptions):
    """The options of `python -m training.run`; `--help` explains them.

    Attributes:
        data: Folders or ZIPs with images and labels.
        out: Folder for weights and records.
        channel: Number or name of the channel to read of images that have several; "" for the first one.
        resume: True to continue the training in `out`.
        val_fraction: Share of the images to hold out, 0..1; None for the recipe's.
        group: Regular expression; images with the same match are never split. None to find groups from the names.
        val: Folder of held-out images; None to hold out images of `data`.
        folds: Number of folds; None to train once.
        epochs: Passes over the images; at most one of `epochs`, `steps` and `minutes` is given.
        steps: Steps of the optimizer.
        minutes: Time from the start of the command to weights and report.
        patience: Checks without a better score after which the training ends.
        recipe: Name of the recipe.
        init: Weights to start from, or the path "bundled"; None to start from nothing.
        width: Channels of the net's first level.
        batch: Images in a step.
        crop: Side of the training crops in pixels.
        learning_rate: The schedule's highest rate.
        seed: Seed of weights and samples.
        threshold: The threshold to store, 0..1.
        select: The score that chooses weights and threshold; None to decide from the labels.
        channels: Channels that the net takes; None to decide from the images.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        workers: Number of processes that load and augment.
        image_memory: Memory for decoded images in GiB; None for a quarter of the free memory.
        compile: True to compile the net.
        sync_batch_norm: True to normalise over the batches of all processes.
        name: Name under which the weights are served.
        classes: Number of classes with the background; None to find it.
        objects: How a mask becomes objects; None to decide from the labels.
        labels: Names of the mask's values.
        command_line: The options as they were given, for records.
        scheme: How to read the labels.
    """

    data: tuple[Path, ...]
    out: Path
    channel: str
    resume: bool
    val_fraction: float | None
    group: str | None
    val: Path | None
    folds: int | None
    epochs: int | None
    steps: int | None
    minutes: float | None
    patience: int | None
    recipe: Literal["default", "tutorial"]
    init: Path | None
    width: int | None
    batch: int | None
    crop: int | None
    learning_rate: float | None
    seed: int
    threshold: float | None
    select: Objective | None
    channels: Literal["grey", "rgb"] | None
    device: str
    workers: int
    image_memory: float | None
    compile: bool
    sync_batch_norm: bool
    name: str
    classes: int | None
    objects: Objects | None
    labels: tuple[str, ...]
    command_line: tuple[str, ...]
    scheme: LabelScheme

    @property
    def val_scheme(self) -> LabelScheme:
        """How to read the labels of `--val`, once `scheme` is found.

        As in several folders of `--data`, masks may have other values, and all else means the same.
        """
        if self.scheme.format not in ("mask", "inverted"):
            return self.scheme
        return replace(scheme_of(self, self.classes), format=self.scheme.format)
