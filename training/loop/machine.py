"""The device of a training, and the way its steps are computed there."""

from dataclasses import dataclass
from typing import Any

import torch

from training.distributed.processes import ALONE, Processes


@dataclass(frozen=True)
class Machine:
    """Decides how long a step takes, but not its result, except for `parts` and the statistics of shares.

    `workers`: processes that draw batches; 0: the training's own. `parts`: how many pieces a batch is computed in, to
    save memory. `compiled`: whether the net is compiled first. `processes`: those that share each part among them;
    `sync_batch_norm`: whether batch norm takes the statistics of a whole part, or each process those of its share.
    """

    device: torch.device
    workers: int = 0
    parts: int = 1
    compiled: bool = False
    processes: Processes = ALONE
    sync_batch_norm: bool = True

    @property
    def pins(self) -> bool:
        """True if batches are put into pinned memory, from which a GPU copies while it computes."""
        return self.device.type == "cuda"

    @property
    def facts(self) -> dict[str, Any]:
        """Entries of a checkpoint: a training resumes with the same parts, possibly on other processes."""
        return {"parts": self.parts, "processes": self.processes.count}

    def divided(self, batch: int) -> list[tuple[range, range]]:
        """A batch's images by their numbers: those of each part, and this process's of them."""
        size = -(-batch // self.parts)
        parts = [range(batch)[first : first + size] for first in range(0, batch, size)]
        return [(part, self.processes.share(part)) for part in parts]

    def share(self, batch: int) -> list[int]:
        """The numbers of all of a batch's images that this process takes, part by part; perhaps none."""
        return [number for _, mine in self.divided(batch) for number in mine]

    def fewest_normalised(self, batch: int) -> int:
        """The fewest images that batch norm takes statistics of."""
        sharing = 1 if self.sync_batch_norm else self.processes.count
        return min(max(1, len(part) // sharing) for part, _ in self.divided(batch))
