"""Many processes that train one net, through torch.distributed: gloo between CPUs, NCCL between GPUs.

Each process has the whole net and a share of each batch. Shares may differ in size and may be empty. So sums are added
up and divided by the size of the whole batch, which gives the loss and the gradients of a single process.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

import psutil
import torch
from torch import Tensor, nn
from torch import distributed as dist

from training.data_error import DataError
from training.distributed.collectives import reduced, summed, together
from training.distributed.processes import Processes
from training.distributed.sync_batch_norm import synchronise

T = TypeVar("T")

# The others wait while the main process validates, however many images there are. That a process has died is noticed
# by its closed connection, not by this.
PATIENCE = timedelta(days=1)


class ManyProcesses(Processes):
    """One of several; see `Processes` for what each method is for. All of them raise ProcessLost."""

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self._local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self._local_count = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self._others_wait = False  # within `on_main`

    @property
    def facts(self) -> dict[str, Any]:
        return {"processes": self.count}

    def on_main(self, work: Callable[[], T]) -> T:
        if self._others_wait:
            return work()
        self._others_wait = True
        outcome = _Outcome.of(work) if self.main else None
        self._others_wait = False
        return cast(_Outcome[T], self._broadcast(outcome)).result()

    def each(self, work: Callable[[], T]) -> T:
        mine = _Outcome.of(work)
        if self.rank and isinstance(mine.error, ValueError):
            mine.error.args = (f"{mine.error} (process {self.rank}, on {socket.gethostname()})",)
        for error in filter(None, self._gather(mine.error)):
            raise error
        return mine.result()

    def same(self, what: str, value: Callable[[], str]) -> None:
        values = self._gather((value(), socket.gethostname()))
        for rank, (other, host) in enumerate(values):
            if other != values[0][0]:
                raise DataError(f"process {rank}, on {host}, has other {what} than process 0, on {values[0][1]}")

    def any(self, flag: bool) -> bool:
        return flag if self._others_wait else reduced(flag, dist.ReduceOp.MAX) > 0

    def from_main(self, value: float) -> float:
        return reduced(value if self.main else 0, dist.ReduceOp.SUM)

    def least(self, value: float) -> float:
        return reduced(value, dist.ReduceOp.MIN)

    def sharing(self, device: str) -> int:
        return 1 if device == "cuda" else self._local_count

    def device(self, wanted: str) -> str:
        if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
            return "cpu"
        if wanted in ("auto", "cuda"):
            return f"cuda:{self._local_rank}"
        if self._local_count > 1 or not wanted.startswith("cuda"):
            raise DataError(
                f"--device {wanted} cannot be shared by several processes; use cpu, or cuda with one GPU per process"
            )
        return wanted

    def total(self, values: Tensor) -> Tensor:
        result: Tensor = _Total.apply(values)  # type: ignore[no-untyped-call]  # torch's stubs
        return result

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        # in one piece and always in the same order, so that a resumed training adds up in the same order, too
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        sums = summed(torch.cat([gradient.flatten() for gradient in gradients]))
        pieces = torch.split(sums, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view(gradient.shape))

    def synchronise_batch_norm(self, net: nn.Module) -> None:
        synchronise(net)

    def _broadcast(self, value: T) -> T:
        """The main process's."""
        values = [value]
        with together():
            dist.broadcast_object_list(values, src=0)
        return values[0]

    def _gather(self, value: T) -> list[T]:
        """All processes', by rank."""
        values: list[Any] = [None] * self.count
        with together():
            dist.all_gather_object(values, value)
        return values


@contextlib.contextmanager
def meeting() -> Iterator[ManyProcesses]:
    """From when all have come until all are done. Raises ProcessLost."""
    # both where there are GPUs: decisions are exchanged by CPUs, which do not wait for a GPU then
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with together():
        dist.init_process_group(backend, timeout=PATIENCE)
    processes = ManyProcesses()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.set_num_threads(_threads(processes.sharing("cpu")))
    with contextlib.nullcontext() if processes.main else _deaf():
        yield processes
        # together: torchrun ends the others as soon as one has failed, and the main one may still be saying why
        with together():
            dist.barrier()
        dist.destroy_process_group()


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """SIGINT and SIGTERM are left to the main process, which gets them too, and tells the others at the next call."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _threads(sharing: int) -> int:
    """Returns the threads of each of `processes` processes: OMP_NUM_THREADS, else an equal share of the cores."""
    with contextlib.suppress(psutil.Error):
        # torchrun sets it to 1 where it is not set, so what counts is whether torchrun itself has found it
        if "OMP_NUM_THREADS" in psutil.Process(os.getppid()).environ():
            return torch.get_num_threads()
    cores = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, cores // sharing)


@dataclass
class _Outcome(Generic[T]):
    """The outcome of some work, which is sent to other processes."""

    value: T | None
    error: BaseException | None

    @classmethod
    def of(cls, work: Callable[[], T]) -> "_Outcome[T]":
        try:
            return cls(work(), None)
        except BaseException as error:  # noqa: BLE001 - raised by `result`, here and elsewhere
            return cls(None, error)

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return cast(T, self.value)


class _Total(torch.autograd.Function):
    """See `Processes.total`."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        return summed(values)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return gradient
