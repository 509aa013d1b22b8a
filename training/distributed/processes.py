"""The interface between the processes of one training, and its implementation for a single process.

`training.distributed.torch_processes` implements the same interface for several processes. All of them run the same
code and meet at the same calls. This module does not import torch, which takes seconds.
"""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")


class ProcessLost(RuntimeError):
    """Another process has ended or cannot be reached. That process reports the cause."""


class Processes:
    """A single process. `rank` is its number, 0 to `count` - 1; only the main process, 0, writes and prints."""

    rank = 0
    count = 1

    @property
    def main(self) -> bool:
        return self.rank == 0

    @property
    def facts(self) -> dict[str, Any]:
        """Entries of the record that a single process does not have."""
        return {}

    def share(self, images: range) -> range:
        """Returns this process's part of the images. Parts differ in size by one at most and may be empty."""
        each, left = divmod(len(images), self.count)
        first = self.rank * each + min(self.rank, left)
        return images[first : first + each + (self.rank < left)]

    def say(self, *lines: str, file: TextIO | None = None) -> None:
        """Prints lines once, in the main process."""
        if self.main:
            print(*lines, sep="\n", file=file or sys.stdout, flush=True)

    def on_main(self, work: Callable[[], T]) -> T:
        """Runs `work` in the main process and returns its result, or raises its exception, in all processes.

        The other processes wait. `work` may call only `any` and `on_main` of this class.
        """
        return work()

    def each(self, work: Callable[[], T]) -> T:
        """Runs `work` in every process; an exception of one process is raised in all."""
        return work()

    def same(self, what: str, value: Callable[[], str]) -> None:
        """Raises DataError in all processes if the value differs between them; `what` names the value."""

    def any(self, flag: bool) -> bool:
        """Returns True if the flag is set in any process."""
        return flag

    def from_main(self, value: float) -> float:
        """Returns the main process's value."""
        return value

    def least(self, value: float) -> float:
        """Returns the lowest value of all processes."""
        return value

    def sharing(self, device: str) -> int:  # noqa: ARG002 - the many look at it
        """Returns the number of processes that share one device of a kind ("cpu", "cuda")."""
        return 1

    def device(self, wanted: str) -> str:
        """Returns this process's device for a name given to all. Raises DataError if they cannot share the device."""
        return wanted

    def total(self, values: "Tensor") -> "Tensor":
        """Returns the sum of all processes' values, which have one shape (all-reduce).

        Its gradient is that of this process's own values, so that `add_gradients` adds up the gradient of the sum.
        """
        return values

    def add_gradients(self, parameters: "Iterable[nn.Parameter]") -> None:
        """Replaces each gradient by the sum over all processes (all-reduce)."""

    def synchronise_batch_norm(self, net: "nn.Module") -> None:
        """Makes batch norm use the statistics of all processes' images in training mode."""


ALONE = Processes()
