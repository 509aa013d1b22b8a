"""The service as the attacks run it: a process of its own, with the smallest net there is."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.servers import Server, service
from model.preprocessing import Preprocessing
from model.unet import UNet, UNetConfig
from model.weights_file import Description, save_weights

MAX_PIXELS = 1_000_000
MAX_BODY_BYTES = 4_000_000


@contextmanager
def small_service(**settings: object) -> Iterator[Server]:
    """A running service whose masks hold both values; `settings` as for `benchmarks.servers.service`."""
    small: dict[str, object] = {"device": "cpu", "precision": "fp32", "tile": 128, "threads": 2, "log_level": "error"}
    small |= {"max_pixels": MAX_PIXELS, "max_body_bytes": MAX_BODY_BYTES}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small-net.safetensors"
        _save_net(path)
        with service(**small, weights=path, **settings) as server:
            yield server


def _save_net(path: Path) -> None:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        net = UNet(UNetConfig(width=4, depth=1)).eval()
        logits = net(torch.rand(1, 1, 96, 96))
        assert net.outc.conv.bias is not None
        net.outc.conv.weight /= logits.std()
        net.outc.conv.bias.copy_((net.outc.conv.bias - logits.mean()) / logits.std())
    description = Description(name=path.stem, architecture=net.config, preprocessing=Preprocessing(), threshold=0.4)
    save_weights(path, net.state_dict(), description)
