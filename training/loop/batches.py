"""The endless stream of training samples, and batches of it.

A sample depends only on the seed and on its position in the stream. So the order of the workers does not matter, and a
resumed training continues with exactly the samples it would have seen.
"""

import itertools
import signal
from collections.abc import Sequence
from functools import lru_cache, partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from model.inputs.preprocessing import Affine, Preprocessing
from training.data.augmentation import Augmentation, Label, Planes, Random, draw_warp, flips, photometric
from training.data.borders import border_closeness, border_weights
from training.data.folder import IGNORED, Sample
from training.recipe import Recipe

Batch = tuple[Tensor, Tensor, Tensor]

# Pixels of each class of an image that crops may be drawn around.
_ANCHORS = 1000

ALIKE = np.ones((1, 1, 1), np.float32)  # weights, where all pixels count alike


def crop_shape(samples: Sequence[Sample], recipe: Recipe) -> tuple[int, int]:
    """Returns height and width of the training crops in pixels, multiples of the net's downsampling.

    A side is `recipe.crop`, or the longest such side of the images, rounded up to the net's grid, if that is shorter:
    beyond an image there is nothing to learn.
    """
    side = _round_up(recipe.crop or 0, recipe.net.downsampling)
    longest = np.max([sample.label.shape for sample in samples], axis=0)
    height, width = (min(side, _round_up(int(length), recipe.net.stride)) for length in longest)
    return height, width


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


class SampleStream(Dataset[Batch]):
    """An endless stream of augmented samples: each image once per pass, each pass in a new order.

    A position gives the input C x S x T, the target 1 x S/s x T/s (class indices; of one class 1 = foreground), where
    s is the net's downsampling, and the weights of the target's pixels, of the target's shape or 1 x 1 x 1. All are
    float32. Pixels that the label ignores have target 0 and weight 0.
    """

    def __init__(self, samples: list[Sample], recipe: Recipe, seed: int) -> None:
        self.samples = samples
        self._recipe = recipe
        self._seed = seed
        # here, before workers are forked, and once for all streams of a sample
        self._affines = [sample.once(_affine, recipe.preprocessing) for sample in samples]
        for sample in samples if recipe.border_weight else ():
            sample.once(_closeness)
        self._crop = crop_shape(samples, recipe)
        self._anchors = [sample.once(_anchors) for sample in samples] if recipe.foreground_crops else None
        self._ignores = any(sample.once(_has_ignored) for sample in samples)

    def __getitem__(self, position: int) -> Batch:
        turn, place = divmod(position, len(self.samples))
        index = int(_order(self._seed, turn, len(self.samples))[place])
        rng = np.random.default_rng([self._seed, 1, position])
        if self._recipe.augmentation:
            planes, label, weights = self._cropped(index, self._recipe.augmentation, rng)
        else:
            planes, label, weights = self._whole(index, rng)
        if self._ignores:
            # all samples of a batch need weights of one shape, whether or not their labels ignore pixels
            counted = label != IGNORED
            weights = weights * counted[None]
            label = np.where(counted, label, 0)
        if self._recipe.class_weights:
            weights = weights * np.array(self._recipe.class_weights, np.float32)[label]
        target = label[None].astype(np.float32)
        return torch.from_numpy(planes), torch.from_numpy(target), torch.from_numpy(weights)

    def _cropped(self, index: int, strength: Augmentation, rng: Random) -> tuple[Planes, Label, Planes]:
        sample, arrange = self.samples[index], self._recipe.preprocessing.arrange
        label = sample.label
        height, width = label.shape
        warp = draw_warp((height, width), self._crop, strength, rng, self._draw_anchor(index, rng))
        window = warp.rows, warp.columns
        planes = warp.planes(self._affines[index].apply(arrange(sample.pixels[window])))
        weights = ALIKE
        if self._recipe.border_weight:
            closeness = sample.once(_closeness)[window]
            weights = warp.planes(border_weights(closeness, self._recipe.border_weight)[None])
        target = warp.label(label[window])
        planes = photometric(planes, strength, rng)
        if (step := self._recipe.net.downsampling) > 1:
            # one pixel of each square, drawn at random: always the same one would shift what is learned
            row, column = rng.integers(step, size=2)
            target = np.ascontiguousarray(target[row::step, column::step])
            weights = np.ascontiguousarray(weights[:, row::step, column::step]) if weights is not ALIKE else weights
        return planes, target, weights

    def _draw_anchor(self, index: int, rng: Random) -> tuple[int, int] | None:
        """Draws a foreground pixel that the crop must contain, of a class drawn first; None for any crop."""
        if not self._anchors or not self._anchors[index] or rng.random() >= self._recipe.foreground_crops:
            return None
        places = self._anchors[index][rng.integers(len(self._anchors[index]))]
        row, column = places[rng.integers(len(places))]
        return int(row), int(column)

    def _whole(self, index: int, rng: Random) -> tuple[Planes, Label, Planes]:
        sample = self.samples[index]
        planes = self._affines[index].apply(self._recipe.preprocessing.arrange(sample.pixels))
        return *flips(planes, sample.label, rng), ALIKE


def _affine(sample: Sample, preprocessing: Preprocessing) -> Affine:
    return preprocessing.affine(preprocessing.arrange(sample.pixels), sample.bits)


def _has_ignored(sample: Sample) -> bool:
    return not sample.counted.all()


def _closeness(sample: Sample) -> NDArray[np.uint8]:
    return border_closeness(sample.foreground)


def _anchors(sample: Sample) -> list[NDArray[np.int32]]:
    """Returns up to `_ANCHORS` pixels, N x 2, of each foreground class of the label."""
    places = [np.argwhere(sample.label == value) for value in np.unique(sample.label) if value not in (0, IGNORED)]
    return [each[:: -(-len(each) // _ANCHORS)].astype(np.int32) for each in places]


def make_loader(
    stream: SampleStream,
    recipe: Recipe,
    first: int,
    steps: int | None,
    workers: int,
    *,
    pin: bool,
    share: Sequence[int] | None = None,
) -> DataLoader[Batch]:
    """Returns the batches from step `first` on.

    Args:
        stream: Where the samples come from.
        recipe: Gives the size of a batch.
        first: The number of the first step.
        steps: The number after the last step; None for endless batches.
        workers: Processes that draw; 0 for this one.
        pin: True to put batches into pinned memory.
        share: The images of each batch to draw, by their numbers; None for all.
    """
    numbers = range(recipe.batch) if share is None else share
    drawn = numbers or [0]  # an empty share still needs tensors of the right shape: draw one image and drop it
    numbered = itertools.count(first) if steps is None else range(first, steps)
    return DataLoader(
        stream,
        batch_sampler=([step * recipe.batch + number for number in drawn] for step in numbered),
        collate_fn=partial(_collate, count=len(numbers)),
        num_workers=workers,
        worker_init_fn=_prepare_worker,
        pin_memory=pin,
    )


def _collate(samples: list[Batch], count: int) -> list[Tensor]:
    return [tensors[:count] for tensors in default_collate(samples)]


@lru_cache(maxsize=4)
def _order(seed: int, turn: int, images: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 0, turn]).permutation(images)


def _prepare_worker(_worker: int) -> None:
    cv2.setNumThreads(0)
    # signals may reach the whole process group; the loop decides when to stop, and needs its batches until then
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
