"""The net as TorchScript: without this project's code, for OpenVINO's converter and for other programs."""

import warnings

import torch

from model.unet import ProbabilityUNet, UNet


def trace(net: UNet) -> torch.jit.ScriptModule:
    """Traces the net as N x C x H x W float32 -> N x K x H x W probabilities.

    N is free. H and W are free multiples of the net's stride.
    """
    config = net.config
    example = torch.zeros(1, config.in_channels, 2 * config.stride, 2 * config.stride)
    # The tracer warns of the padding, which such sizes do not need, and that TorchScript is deprecated: programs in C++
    # and Java load it all the same. Its check would run the net three times more.
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        traced: torch.jit.ScriptModule = torch.jit.trace(ProbabilityUNet.of(net), example, check_trace=False)  # type: ignore[no-untyped-call]
    return traced


def forget_traces() -> None:
    """Frees all that torch.jit keeps of traced nets. Without this call, their weights stay in memory until the end.

    No traced net may be in use. torch's own tests call the same two functions after each test.
    """
    torch._C._jit_clear_class_registry()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()
