"""torch.distributed's operations on tensors as training needs them: results come back, and failures have one name.

All processes have to call the same ones in the same order, with tensors of one shape.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch import distributed as dist

from training.distributed.processes import ProcessLost


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Raises ProcessLost for what torch raises when another process is gone: RuntimeErrors of many kinds."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(f"another process has ended, or cannot be reached ({str(error).splitlines()[0]})") from error


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, the same bits in each of them. Raises ProcessLost."""
    values = values.detach().clone(memory_format=torch.contiguous_format)
    with together():
        dist.all_reduce(values)
    return values


def gathered(values: Tensor) -> Tensor:
    """All processes' values, stacked by rank: P x the shape of one. Raises ProcessLost."""
    each = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    with together():
        dist.all_gather(each, values)
    return torch.stack(each)


def reduced(value: float, operation: "dist.ReduceOp.RedOpType") -> float:
    """Reduces one number of each process, on CPUs, so that no GPU is waited for. Raises ProcessLost."""
    number = torch.tensor(value, dtype=torch.float64)
    with together():
        dist.all_reduce(number, operation)
    return number.item()
