"""The net in eager PyTorch, on CUDA, MPS or the CPU; and what else depends on torch's devices.

Shape letters: N tiles, C channels, K classes, H height, W width.
"""

import math
import platform
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from model.engines.engine import Array, EngineError
from model.tiles import Window, decoder_crops
from model.unet import UNet

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# A batch of two images of 512 x 512 keeps no CPU busier than one, a GPU has use for many. Both have use for a second
# batch beside the first: on a CPU it fills the gaps between layers (200 ms an image instead of 220), on a GPU it is cut
# and copied meanwhile.
BATCH_PIXELS = {"cpu": 512 * 512, "cuda": 8 * 512 * 512, "mps": 2 * 512 * 512}
STREAMS = {"cpu": 2, "cuda": 2, "mps": 1}


class TorchEngine:
    """An `Engine`."""

    name = "torch"

    def __init__(self, net: UNet, device: str = "auto", precision: str = "auto", threshold: float = 0.5) -> None:
        """`threshold`: see `to_probabilities`. Raises EngineError if device or precision are not to be had here."""
        self._threshold = threshold
        self._device = choose_device(device)
        self.device = str(self._device)
        self.precision: str = choose_precision(self._device, precision)
        # The net computes at its own scale, so the chip is busy from that scale's number of pixels up.
        self.batch_pixels = BATCH_PIXELS[self._device.type] * net.config.downsampling**2
        self.streams = STREAMS[self._device.type]
        self._dtype = DTYPES[self.precision]
        self._layout = memory_format(net)
        net = net.eval().requires_grad_(False).to(self._device, self._dtype)
        self._net: UNet = net.to(memory_format=self._layout)  # type: ignore[call-overload]  # torch's stubs lack it
        self._threads = threading.local()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # the weights are there before other streams ask for them
        # Aligned corners make the decoder's result depend on where its map ends: it cannot be cropped before.
        self._croppable = net.config.upsampling != "bilinear_aligned"

    @property
    def held_bytes(self) -> int:
        """The weights: torch frees activations, or keeps them for all nets of the process (CUDA)."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._net.state_dict().values())

    def release_memory(self) -> None:
        """Does nothing: no memory belongs only to this engine."""

    @torch.inference_mode()
    def run(self, batch: Array, kept: Window | None = None) -> Array:
        with self._stream():
            return self._run(batch, kept)

    def _run(self, batch: Array, kept: Window | None) -> Array:
        height, width = batch.shape[-2:]
        x = self._to_device(torch.from_numpy(batch)).to(self._dtype).contiguous(memory_format=self._layout)
        if kept and self._croppable:
            config = self._net.config
            logits = self._net(x, decoder_crops(kept, (height, width), config.depth, config.downsampling).tolist())
        else:
            (top, bottom), (left, right) = kept or ((0, None), (0, None))
            logits = self._net(x)[..., top:bottom, left:right]
        probabilities = to_probabilities(logits.float(), self._threshold)
        array: Array = probabilities.contiguous().cpu().numpy()
        return array

    def _stream(self) -> AbstractContextManager[object]:
        """Gives each thread its own CUDA stream, so that copies of one thread overlap with kernels of another."""
        if self._device.type != "cuda":
            return nullcontext()
        if not hasattr(self._threads, "stream"):
            self._threads.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._threads.stream)

    def _to_device(self, batch: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return batch.to(self._device)
        return batch.pin_memory().to(self._device, non_blocking=True)


def to_probabilities(logits: Tensor, threshold: float) -> Tensor:
    """Turns N x K x H x W float32 logits into probabilities: the sigmoid of one class, the softmax of several.

    Several float32 logits share one float32 sigmoid. Around `threshold` (0 < t < 1), the probabilities are corrected by
    one unit in the last place. Then p >= t exactly where logit >= log(t / (1 - t)), and a net whose threshold was a
    logit keeps its mask.
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
