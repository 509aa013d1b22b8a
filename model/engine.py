"""Engines: a net made ready for one device and one precision. Nothing else in the code knows which one runs.

Shape letters: N tiles, C channels, K classes, H height, W width.
"""

import math
import platform
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.unet import UNet

Array: TypeAlias = NDArray[np.float32]
Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class EngineError(ValueError):
    """A device or precision that this machine does not have; the message says what it has."""


class Engine(Protocol):
    """Runs batches of tiles. `name`, `device` and `precision` are for people to read."""

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...

    def run(self, batch: Array) -> Array:
        """N x C x H x W float32 -> N x K x H x W float32 probabilities (sigmoid of one class, softmax of several)."""
        ...


class TorchEngine:
    """The net in eager PyTorch, on CUDA, MPS or the CPU."""

    name = "torch"

    def __init__(self, net: UNet, device: str = "auto", precision: str = "auto", threshold: float = 0.5) -> None:
        """`threshold`: see `to_probabilities`. Raises EngineError if device or precision are not to be had here."""
        self._threshold = threshold
        self._device = choose_device(device)
        self.device = str(self._device)
        self.precision: str = choose_precision(self._device, precision)
        self._dtype = DTYPES[self.precision]
        self._layout = memory_format(net)
        net = net.eval().requires_grad_(False).to(self._device, self._dtype)
        self._net = net.to(memory_format=self._layout)  # type: ignore[call-overload]  # torch's stubs lack it

    @torch.inference_mode()
    def run(self, batch: Array) -> Array:
        x = torch.from_numpy(batch).to(self._device, self._dtype).contiguous(memory_format=self._layout)
        probabilities = to_probabilities(self._net(x).float(), self._threshold)
        array: Array = probabilities.contiguous().cpu().numpy()
        return array


def to_probabilities(logits: Tensor, threshold: float) -> Tensor:
    """N x K x H x W float32 logits -> probabilities: the sigmoid of one class, the softmax of several.

    Several float32 logits share one float32 sigmoid. Around `threshold` (0 < t < 1) they are kept apart, by one unit in
    the last place: p >= t just where logit >= log(t / (1 - t)), so a net whose threshold was a logit keeps its mask.
    """
    if logits.shape[1] > 1:
        return logits.softmax(dim=1)
    at = np.float32(threshold)
    below = np.nextafter(at, np.float32(0))
    p = logits.sigmoid()
    is_foreground = logits >= float(np.float32(math.log(threshold / (1 - threshold))))
    return torch.where(is_foreground, p.clamp(min=float(at)), p.clamp(max=float(below)))


def choose_device(wanted: str) -> torch.device:
    """The device for "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:1" or "mps". Raises EngineError."""
    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count())), *there]
    if wanted == "auto":
        return torch.device(there[0])
    if wanted not in there:
        raise EngineError(f"device {wanted!r} is not available here; available: {', '.join(there)}")
    return torch.device(wanted)


def chip(device: torch.device) -> str:
    """The device's name, with the instructions torch uses on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    return f"{names[0] if names else platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


def choose_precision(device: torch.device, wanted: str) -> Precision:
    """The precision for "auto" (bf16 where the chip has it, else fp32), "fp32", "bf16", "fp16". Raises EngineError."""
    match wanted:
        case "auto":
            return "bf16" if _multiplies_in_bf16(device) else "fp32"
        case "fp32" | "bf16" | "fp16":
            return wanted
    raise EngineError(f"precision {wanted!r} is not one of the torch engine's: auto, {', '.join(DTYPES)}")


def _multiplies_in_bf16(device: torch.device) -> bool:
    match device.type:
        case "cuda":
            return torch.cuda.get_device_capability(device) >= (8, 0)
        case "cpu":
            return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def memory_format(net: UNet) -> torch.memory_format:
    """Channels last is faster everywhere, but sums in another order.

    Nets with aligned corners are other people's and keep the order of the original, so that their masks are equal to
    the last pixel.
    """
    aligned = net.config.upsampling == "bilinear_aligned"
    return torch.contiguous_format if aligned else torch.channels_last
