"""The endless stream of training samples, and batches of it.

What is drawn at a position of the stream depends on the seed and the position alone. So the order of the workers
does not matter, and a resumed training goes on with exactly the samples it would have seen.
"""

import signal
from collections.abc import Sequence
from functools import lru_cache, partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from training.augment import Augmentation, Label, Planes, Random, draw_warp, flips, photometric
from training.borders import border_weights
from training.data import Sample
from training.recipe import Recipe

Batch = tuple[Tensor, Tensor, Tensor]

ALIKE = np.ones((1, 1, 1), np.float32)  # weights, where all pixels count alike


class SampleStream(Dataset[Batch]):
    """Position -> (input C x S x S, target 1 x S x S, weights of its pixels 1 x S x S or 1 x 1 x 1), all float32.

    The target holds class indices, of one class 1 = foreground. Each image once a pass, each pass in a new order.
    """

    def __init__(self, samples: list[Sample], recipe: Recipe, seed: int) -> None:
        self.samples = samples
        self._recipe = recipe
        self._seed = seed
        self._pixels = [recipe.preprocessing.arrange(sample.pixels) for sample in samples]
        self._affines = [recipe.preprocessing.affine(pixels) for pixels in self._pixels]
        weight = recipe.border_weight
        self._weights = [border_weights(sample.foreground, weight) for sample in samples] if weight else None

    def __getitem__(self, position: int) -> Batch:
        turn, place = divmod(position, len(self.samples))
        index = int(_order(self._seed, turn, len(self.samples))[place])
        rng = np.random.default_rng([self._seed, 1, position])
        side, strength = self._recipe.crop, self._recipe.augmentation
        if side and strength:
            planes, label, weights = self._cropped(index, side, strength, rng)
        else:
            planes, label, weights = self._whole(index, rng)
        target = label[None].astype(np.float32)
        return torch.from_numpy(planes), torch.from_numpy(target), torch.from_numpy(weights)

    def _cropped(self, index: int, side: int, strength: Augmentation, rng: Random) -> tuple[Planes, Label, Planes]:
        label = self.samples[index].label
        height, width = label.shape
        warp = draw_warp((height, width), (side, side), strength, rng)
        window = warp.rows, warp.columns
        planes = warp.planes(self._affines[index].apply(self._pixels[index][window]))
        weights = warp.planes(self._weights[index][window][None]) if self._weights else ALIKE
        return photometric(planes, strength, rng), warp.label(label[window]), weights

    def _whole(self, index: int, rng: Random) -> tuple[Planes, Label, Planes]:
        return *flips(self._affines[index].apply(self._pixels[index]), self.samples[index].label, rng), ALIKE


def make_loader(
    stream: SampleStream,
    recipe: Recipe,
    first: int,
    steps: int,
    workers: int,
    *,
    pin: bool,
    share: Sequence[int] | None = None,
) -> DataLoader[Batch]:
    """The batches of the steps `first` to `steps`; of each the images of these numbers alone, if a `share` is given."""
    numbers = range(recipe.batch) if share is None else share
    drawn = numbers or [0]  # one image, of which none is kept, has the shape of none
    return DataLoader(
        stream,
        batch_sampler=[[step * recipe.batch + number for number in drawn] for step in range(first, steps)],
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
