"""What a training runs on, and how its steps are computed there."""

from dataclasses import dataclass

import torch


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
