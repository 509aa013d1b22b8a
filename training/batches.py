"""The endless stream of training samples, and batches of it.

What is drawn at a position of the stream depends on the seed and the position alone. So the order of the workers
does not matter, and a resumed training goes on with exactly the samples it would have seen.
"""

import signal
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.augment import flips, photometric, warped_crop
from training.borders import border_weights
from training.data import Sample
from training.recipe import Recipe

Batch = tuple[Tensor, Tensor, Tensor]


class SampleStream(Dataset[Batch]):
    """Position -> (input C x S x S, target 1 x S x S, weights of its pixels 1 x S x S or 1 x 1 x 1), all float32.

    Each image once a pass, each pass in a new order.
    """

    def __init__(self, samples: list[Sample], recipe: Recipe, seed: int) -> None:
        self.samples = samples
        self._recipe = recipe
        self._seed = seed
        weight = recipe.border_weight
        self._weights = [border_weights(sample.label, weight)[None] for sample in samples] if weight else None

    def __getitem__(self, position: int) -> Batch:
        turn, place = divmod(position, len(self.samples))
        index = _order(self._seed, turn, len(self.samples))[place]
        sample = self.samples[index]
        rng = np.random.default_rng([self._seed, 1, position])
        pixels = self._recipe.preprocessing.arrange(sample.pixels)
        planes, label = self._recipe.preprocessing.affine(pixels).apply(pixels), sample.label
        channels = len(planes)
        if self._weights:
            planes = np.concatenate([planes, self._weights[index]])
        if self._recipe.augmentation and self._recipe.crop:
            planes, label = warped_crop(planes, label, self._recipe.crop, self._recipe.augmentation, rng)
            planes[:channels] = photometric(planes[:channels], self._recipe.augmentation, rng)
        else:
            planes, label = flips(planes, label, rng)
        weights = planes[channels:] if self._weights else np.ones((1, 1, 1), np.float32)
        tensors = planes[:channels], label[None].astype(np.float32), weights
        return torch.from_numpy(tensors[0]), torch.from_numpy(tensors[1]), torch.from_numpy(tensors[2])


def make_loader(
    stream: SampleStream, recipe: Recipe, first: int, steps: int, workers: int, *, pin: bool
) -> DataLoader[Batch]:
    """The batches of the steps `first` to `steps`."""
    return DataLoader(
        stream,
        batch_size=recipe.batch,
        sampler=range(first * recipe.batch, steps * recipe.batch),
        num_workers=workers,
        worker_init_fn=_prepare_worker,
        pin_memory=pin,
    )


@lru_cache(maxsize=4)
def _order(seed: int, turn: int, images: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 0, turn]).permutation(images)


def _prepare_worker(_worker: int) -> None:
    cv2.setNumThreads(0)
    # Ctrl-C reaches the whole process group; the loop decides when to stop, and needs its batches until then
    signal.signal(signal.SIGINT, signal.SIG_IGN)
