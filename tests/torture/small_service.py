"""The service as the attacks run it: a process of its own, with the smallest net there is."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import Server, service
from tests.support.small_net import save_small_net

MAX_PIXELS = 1_000_000
MAX_BODY_BYTES = 4_000_000


@contextmanager
def small_service(**settings: object) -> Iterator[Server]:
    """A running service whose masks hold both values; `settings` as for `tests.support.servers.service`."""
    small: dict[str, object] = {"device": "cpu", "precision": "fp32", "tile": 128, "threads": 2, "log_level": "error"}
    small |= {"max_pixels": MAX_PIXELS, "max_body_bytes": MAX_BODY_BYTES}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small-net.safetensors"
        save_small_net(path, depth=1)
        with service(**small, weights=path, **settings) as server:
            yield server
