import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.local_backend import LocalBackend, find_nets
from app.service import Service
from app.settings import Settings
from model.weights_file import WeightsError, load_weights, save_weights

ROOT = Path(__file__).parents[2]


def _make_service(settings: Settings) -> Service:
    return Service(settings, LocalBackend(settings, find_nets(settings).nets))


@pytest.fixture
def service(make_settings: Callable[..., Settings]) -> Service:
    return _make_service(make_settings())


def test_a_service_is_ready_from_loading_until_draining(service: Service):
    assert (service.ready, service.healthy) == (False, True)
    service.load()
    assert (service.ready, service.healthy) == (True, True)
    service.drain()
    assert (service.ready, service.healthy) == (False, True)
    service.close()
    assert (service.ready, service.healthy) == (False, False)


def test_a_service_that_never_loaded_can_be_closed(service: Service):
    service.close()
    assert not service.ready


def test_overflow_on_the_serving_device_is_a_weights_error(
    make_settings: Callable[..., Settings], weights_path: Path, tmp_path: Path
):
    weights, path = load_weights(weights_path), tmp_path / "huge.safetensors"
    huge = {name: 1e5 * tensor if tensor.ndim == 4 else tensor for name, tensor in weights.tensors.items()}
    save_weights(path, huge, weights.description)
    service = _make_service(make_settings(weights=path, engine="torch", precision="fp16"))
    with pytest.raises(WeightsError, match=f"^weights {load_weights(path).label}: .*not finite"):
        service.load()
    assert not service.ready
    service.close()


def test_nothing_is_ever_unpickled(weights_path: Path):
    """From the imports to the answer: no class or function is looked up for a pickle, by whatever library."""
    code = f"""
import os, sys
sys.addaudithook(lambda event, _: os._exit(9) if event == "pickle.find_class" else None)
from pathlib import Path
from fastapi.testclient import TestClient
from app.application import create_app
from app.settings import Settings
from model.weights_file import BUNDLED
picture = (BUNDLED.parents[2] / "docs/example.png").read_bytes()
for weights in (Path({str(weights_path)!r}), None):
    with TestClient(create_app(Settings(weights=weights))) as client:
        while client.get("/readyz").status_code != 200:
            pass
        for output in ("mask", "instances", "geojson"):
            assert client.post("/segment", params={{"output": output}}, files={{"file": picture}}).status_code == 200
import pickle
pickle.loads(pickle.dumps(Path))  # that the hook is there
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 9, done.stdout + done.stderr


def test_weights_cut_short_on_disk_after_they_were_read_do_no_harm(
    make_settings: Callable[..., Settings], weights_path: Path, tmp_path: Path
):
    copy = Path(shutil.copy(weights_path, tmp_path))
    service = _make_service(make_settings(weights=copy))
    copy.write_bytes(b"")  # were the file mapped into memory, the next line would end the process
    service.load()
    assert service.ready
    service.close()
