"""Recipes: everything that decides how a net is trained, but the data, the seed and the machine."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.convert import TUTORIAL_THRESHOLD
from model.inputs.preprocessing import Preprocessing
from model.unet import UNetConfig
from training.data.augmentation import Augmentation
from training.scoring.objective import Objective


class Recipe(BaseModel):
    """All choices of a training, besides its data, its seed and its machine.

    The length is given in steps of the optimizer (`steps`) or in passes over the images (`epochs`).

    Attributes:
        name: Name of the recipe that this one was made from.
        adapts: True if the data configure the recipe (`training.run.planner`), and short times narrow its net.
        net: Architecture.
        preprocessing: How pixels become the net's input.
        precision: Number format of the net's computations; "auto" is what the device computes fastest.
        border_weight: How much more the background between two objects counts (`training.data.borders`).
        foreground_crops: Share of the crops that are drawn around a pixel of the foreground.
        class_weights: How much a pixel of each class counts in the cross-entropy; None for all alike.
        augmentation: None for the tutorial's flips of whole images.
        crop: Side of the training crops in pixels; None for whole images.
        batch: Crops or images in a step.
        clip_norm: Largest norm of the gradient.
        ema_decay: Decay of the averaged weights when the training is long enough (`training.loop.learner`).
        select: Score of the held-out images that chooses weights and threshold (`training.scoring.objective`), or
            "training_loss" for the weights of the lowest loss of a training batch.
        validation_fraction: Share of the images that are held out.
        check_every: Steps between validations, checkpoints and pictures; None for an epoch.
        threshold: Stored if no held-out images find a better one; without meaning for several classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["default", "tutorial"]
    adapts: bool = False
    net: UNetConfig
    preprocessing: Preprocessing
    precision: Literal["auto", "fp32"] = "auto"
    optimizer: Literal["adamw", "rmsprop"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    schedule: Literal["one_cycle", "constant"]
    loss: Literal["bce", "bce_dice", "bce_background_dice", "cross_entropy", "cross_entropy_dice"]
    border_weight: float = Field(0, ge=0)
    foreground_crops: float = Field(0, ge=0, le=1)
    class_weights: tuple[float, ...] | None = None
    augmentation: Augmentation | None
    crop: int | None = Field(ge=16)
    batch: int = Field(ge=1)
    steps: int | None = Field(None, ge=1)
    epochs: int | None = Field(None, ge=1)
    clip_norm: float | None = Field(None, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    select: Objective | Literal["training_loss"]
    validation_fraction: float = Field(ge=0, lt=1)
    check_every: int | None = Field(None, ge=1)
    threshold: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _crops_are_augmented(self) -> "Recipe":
        if (self.crop is None) != (self.augmentation is None):
            raise ValueError(f"the {self.name} recipe takes {'crops' if self.augmentation else 'whole images'}")
        if self.crop is None and self.border_weight:
            raise ValueError("borders are weighted in crops, not in whole images")
        return self

    def total_steps(self, images: int) -> int:
        """Steps of the whole training on that many images."""
        return self.steps or (self.epochs or 1) * self.steps_per_epoch(images)

    def steps_per_epoch(self, images: int) -> int:
        """Steps in which each image is drawn once."""
        return -(-images // self.batch)


DEFAULT = Recipe(
    name="default",
    adapts=True,
    net=UNetConfig(width=32),
    preprocessing=Preprocessing(normalisation="zscore"),
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=1e-2,
    schedule="one_cycle",
    loss="bce_dice",
    border_weight=5,
    augmentation=Augmentation(),
    crop=256,
    batch=6,
    steps=1500,
    clip_norm=1.0,
    ema_decay=0.995,
    select="dice",  # the labels decide, see training.scoring.objective
    validation_fraction=0.2,
    check_every=100,
    threshold=0.5,
)

TUTORIAL = Recipe(
    name="tutorial",
    net=UNetConfig(width=64, upsampling="bilinear_aligned", conv_bias=True),
    preprocessing=Preprocessing(scaling="raw"),
    precision="fp32",
    optimizer="rmsprop",
    learning_rate=1e-5,
    weight_decay=1e-8,
    schedule="constant",
    loss="bce",
    augmentation=None,
    crop=None,
    batch=1,
    epochs=40,
    select="training_loss",
    validation_fraction=0.0,
    threshold=TUTORIAL_THRESHOLD,
)

# The highest rate of a training that starts from weights: enough to learn another look, too little to forget the rest.
FINE_TUNING_RATE = 5e-4

RECIPES = {recipe.name: recipe for recipe in (DEFAULT, TUTORIAL)}
