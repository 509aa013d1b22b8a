"""What the processes of one training need of each other, and the process that trains alone.

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
    """Another process has ended or cannot be reached; which says why on its own."""


class Processes:
    """One process alone. `rank`: this one's number, 0 to `count` - 1; the main one, 0, does all that leaves a trace."""

    rank = 0
    count = 1

    @property
    def main(self) -> bool:
        return self.rank == 0

    @property
    def facts(self) -> dict[str, Any]:
        """What there is to note of them beside what one alone would note."""
        return {}

    def share(self, images: range) -> range:
        """This process's part of them: as many as each of the others, or one more for the first few; perhaps none."""
        each, left = divmod(len(images), self.count)
        first = self.rank * each + min(self.rank, left)
        return images[first : first + each + (self.rank < left)]

    def say(self, *lines: str, file: TextIO | None = None) -> None:
        """Printed once, by the main process."""
        if self.main:
            print(*lines, sep="\n", file=file or sys.stdout, flush=True)

    def on_main(self, work: Callable[[], T]) -> T:
        """What the main process makes of it, for all; or the exception it has raised, in all.

        The others wait. Within, of this class only `any` and `on_main` may be called: they concern the main process.
        """
        return work()

    def each(self, work: Callable[[], T]) -> T:
        """Done by every process for itself; what one of them raises, all raise."""
        return work()

    def same(self, what: str, value: Callable[[], str]) -> None:
        """Raises ValueError in all of them if it is not the same in all; `what` names it."""

    def any(self, flag: bool) -> bool:
        """Whether it is set in one of them at least."""
        return flag

    def from_main(self, value: float) -> float:
        """The main process's."""
        return value

    def least(self, value: float) -> float:
        """The lowest of all."""
        return value

    def sharing(self, device: str) -> int:  # noqa: ARG002 - the many look at it
        """How many of them share one device of a kind ("cpu", "cuda")."""
        return 1

    def device(self, wanted: str) -> str:
        """This process's own, of a name that is given to all of them. Raises ValueError if they cannot share it."""
        return wanted

    def total(self, values: "Tensor") -> "Tensor":
        """The sum of all processes' values, of any one shape.

        Its gradient is that of this process's own values: what `add_gradients` adds up is then the gradient of the sum.
        """
        return values

    def add_gradients(self, parameters: "Iterable[nn.Parameter]") -> None:
        """Each gradient becomes the sum of all processes'."""

    def synchronise_batch_norm(self, net: "nn.Module") -> None:
        """In training mode its batch norms take the statistics of all processes' images from now on."""


ALONE = Processes()
