"""Batch norm over the images of all processes, so that the number of processes does not change the result.

torch's own works only on GPUs, where it is used; this one is for CPUs.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.distributed.collectives import gathered, summed


class SyncBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, its statistics in training mode those of all processes' images. N x D x H x W, N may be 0."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's stubs
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        normalised: tuple[Tensor, Tensor, Tensor, int]
        normalised = _Normalise.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        out, mean, variance, count = normalised
        for running, value in ((self.running_mean, mean), (self.running_var, variance * (count / (count - 1)))):
            cast(Tensor, running).lerp_(value, cast(float, self.momentum))
        cast(Tensor, self.num_batches_tracked).add_(1)
        return out


def synchronise(net: nn.Module) -> None:
    """Every `nn.BatchNorm2d` within becomes a synchronised one, of the same tensors under the same names."""
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _synchronised(child))


def _synchronised(norm: nn.BatchNorm2d) -> nn.Module:
    if norm.weight.device.type != "cpu":
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(norm))  # type: ignore[no-untyped-call]
    twin = SyncBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    for tensors in ("_parameters", "_buffers"):
        getattr(twin, tensors).update(getattr(norm, tensors))
    return twin


class _Normalise(torch.autograd.Function):
    """(x, weight, bias, eps) -> (normalised x, mean, variance, how many pixels they are of)."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        mean, variance, count = _statistics(x, weight.dtype)
        context.save_for_backward(x, weight, mean, variance)
        context.eps, context.count = eps, count
        context.mark_non_differentiable(mean, variance)
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance, count

    @staticmethod
    def backward(context: Any, *gradients: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance = context.saved_tensors
        values, gradient = x.to(weight.dtype), gradients[0].to(weight.dtype)
        direct, of_weight, of_bias = _of_given_statistics(values, gradient, weight, mean, variance, context.eps)
        # each pixel also moved the mean and the variance, and with them all pixels of all processes
        moved = summed(torch.stack((of_weight, of_bias))) * (weight * (variance + context.eps).rsqrt() / context.count)
        indirect = F.batch_norm(values, mean, variance, moved[0], moved[1], eps=context.eps)
        return (direct - indirect).to(x.dtype), of_weight, of_bias, None


def _statistics(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, int]:
    """(mean, biased variance, number) of the pixels of all processes; D, D."""
    D = x.shape[1]
    own = torch.zeros(3, D, dtype=torch.float64)
    if len(x):
        unused = torch.zeros(D, dtype=dtype)
        own[0] = x.numel() // D
        own[1], own[2] = torch.batch_norm_update_stats(x, unused, unused.clone(), 0.0)  # what `nn.BatchNorm2d` calls
    counts, means, variances = gathered(own).unbind(dim=1)
    shares = counts / counts.sum(dim=0)
    mean = (shares * means).sum(dim=0)
    variance = (shares * (variances + (means - mean) ** 2)).sum(dim=0)
    return mean.to(dtype), variance.to(dtype), int(counts[:, 0].sum())


def _of_given_statistics(
    x: Tensor, gradient: Tensor, weight: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias as if mean and variance did not depend on x."""
    if not len(x):  # torch divides by its size
        return torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        gradient, x, weight, mean, variance, None, None, False, eps, [True] * 3
    )
    return found
