"""Memory of a training step: its estimate, a check that it is available, and its reuse by the next step."""

import contextlib
import ctypes
from functools import lru_cache

import torch

from model.unet import UNet
from training.data.free_memory import free_memory
from training.distributed.processes import ALONE, Processes
from training.loop.learner import Learner
from training.loop.machine import Machine
from training.recipe import Recipe

# Peak memory of the backward pass, in multiples of the stored activations: workspaces and gradients come on top.
# Measured on a CPU: 1.3 to 2.1 for crops of 256 and whole images of 512, widths 16 to 64, in bfloat16 and float32.
PEAK = 2.2
# Of each of the net's parameters: itself, its gradient, the optimizer's two moments and the average, in float32.
PER_PARAMETER = 5 * 4
# The rest is for the images, the workers and everybody else on the machine.
SHARE = 0.8

# Parameters of glibc's mallopt, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed() -> None:
    """Makes glibc keep freed memory for the next step, which needs the same amount.

    Otherwise, glibc returns the memory and the kernel clears each page again, which takes an eighth of a step on a CPU.
    Other C libraries need no such setting.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class TooLittleMemory(RuntimeError):
    """Not even one image of the batch fits, or not even the net."""


def choose_parts(
    recipe: Recipe, height: int, width: int, device: torch.device, workers: int = 0, processes: Processes = ALONE
) -> int:
    """In how many parts a batch of images H x W must be computed to fit the free memory of each of the processes.

    `workers`: as of a `Machine`. Raises TooLittleMemory.
    """
    free = processes.least(SHARE * free_bytes(device) / processes.sharing(device.type))
    drawn = drawn_bytes(-(-recipe.batch // processes.count), recipe.net.in_channels, height, width, workers)
    if drawn > free:
        raise TooLittleMemory(
            f"batches of {recipe.batch} {width} x {height} images take {_gigabytes(drawn)}, and {_gigabytes(free)} of "
            f"memory are free for them on {device}; use a smaller --batch"
        )
    net = net_bytes(recipe)
    if net > free:
        raise TooLittleMemory(
            f"a net of width {recipe.net.width} takes {_gigabytes(net)} to train, and {_gigabytes(free)} of memory are "
            f"free for it on {device}; use a narrower one (--width)"
        )
    free -= net + drawn
    image = image_bytes(recipe, height, width, device)
    fitting = int(free // image) * processes.count
    if fitting < 1:
        raise TooLittleMemory(
            f"training on one {width} x {height} image takes {_gigabytes(image)}, and {_gigabytes(free)} of memory are "
            f"free for it on {device}; use smaller crops (--crop) or a narrower net (--width)"
        )
    return -(-recipe.batch // min(fitting, recipe.batch))


def drawn_bytes(images: int, channels: int, height: int, width: int, workers: int) -> int:
    """Bytes of the batches that are there at a time, each image with its target and weights.

    One is trained on, or put together by the process itself; a worker is two ahead, PyTorch's default.
    """
    return (2 * workers + 1) * images * (channels + 2) * 4 * height * width


def net_bytes(recipe: Recipe) -> int:
    """Bytes of the net's weights and all that training keeps of them; none are made to know."""
    with torch.device("meta"):
        return PER_PARAMETER * sum(parameter.numel() for parameter in UNet(recipe.net).parameters())


def image_bytes(recipe: Recipe, height: int, width: int, device: torch.device) -> float:
    """Estimates the peak memory in bytes of one H x W image of a batch: what autograd keeps of a real step, times PEAK.

    The step is measured on smaller images, because the tensors that autograd keeps are proportional to the pixels. The
    estimate is the difference between two images and one: copies of the weights in bfloat16 do not grow with the batch.
    """
    # neither an average of the weights nor the length changes what a step keeps
    return PEAK * _bytes_per_pixel(recipe.model_copy(update={"ema_decay": None, "steps": 1}), device) * height * width


@lru_cache(maxsize=8)  # trainings of `--folds` have the same recipe
def _bytes_per_pixel(recipe: Recipe, device: torch.device) -> float:
    side = 8 * recipe.net.stride
    learner = Learner(recipe, 1, Machine(device), seed=0)
    kept = [_kept_bytes(learner, count, side) for count in (1, 2)]
    return (kept[1] - kept[0]) / side**2


def _kept_bytes(learner: Learner, images: int, side: int) -> int:
    """Bytes that autograd keeps of the net and the loss for a batch of square images of this side."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        inputs = torch.zeros(images, learner.recipe.net.in_channels, side, side)
        target = torch.zeros(images, 1, *(2 * (side // learner.recipe.net.downsampling,)))
        learner.gradients(inputs, target, torch.ones_like(target))
    return sum(kept.values())


def free_bytes(device: torch.device) -> int:
    """Returns the free memory of a GPU, else of the machine or the container."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()


def _gigabytes(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
