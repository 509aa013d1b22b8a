"""Weights of a small net whose masks hold both values, for servers that are tested."""

from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue

from model.inputs.preprocessing import Preprocessing
from model.unet import UNet, UNetConfig
from model.weights_file import Description, save_weights


def save_small_net(
    path: Path,
    depth: int = 2,
    *,
    seed: int = 0,
    classes: int = 1,
    reached: dict[str, JsonValue] | None = None,
    **described: Any,
) -> Path:
    """One channel, width 4; always the same for a seed; served under the file's name. Returns the path.

    `reached`: what the provenance says of the training. `described`: other fields of the description.
    """
    with torch.random.fork_rng(), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        net = UNet(UNetConfig(width=4, depth=depth, classes=classes)).eval()
        logits = net(torch.rand(1, 1, 96, 96))
        assert net.outc.conv.bias is not None
        net.outc.conv.weight /= logits.std()
        net.outc.conv.bias.copy_((net.outc.conv.bias - logits.mean()) / logits.std())
    description = Description(
        name=path.stem,
        architecture=net.config,
        preprocessing=Preprocessing(),
        threshold=0.4,
        provenance={} if reached is None else {"reached": reached},
        **described,
    )
    save_weights(path, net.state_dict(), description)
    return path
