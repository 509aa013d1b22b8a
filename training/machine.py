"""What a training runs on, and how its steps are computed there."""

import ctypes
import platform
from dataclasses import dataclass

import torch

# Parameters of glibc's mallopt (malloc.h), and what they are set to, in bytes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT = {_MMAP_THRESHOLD: 2**30, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**28}


@dataclass(frozen=True)
class Machine:
    """Decides how long a step takes and, but for `parts`, not what comes out.

    `workers`: processes that draw batches; 0: the training's own. `parts`: how many pieces a batch is computed in, to
    save memory. `compiled`: whether the net is compiled first.
    """

    device: torch.device
    workers: int = 0
    parts: int = 1
    compiled: bool = False

    @property
    def pins(self) -> bool:
        """Whether batches are put into pinned memory, from where a GPU fetches them while it computes."""
        return self.device.type == "cuda"


def keep_freed_memory() -> None:
    """Has glibc keep large blocks that are freed, for the next step; elsewhere nothing is done.

    By default they go back to the kernel at once, and each step waits for thousands of fresh, zeroed pages.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for parameter, size in _KEPT.items():
            libc.mallopt(parameter, size)
