"""The client as a distribution of its own, installed without the rest of the project."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from model.images.decoding import decode_image
from model.images.encoding import encode_png
from tests.support.image_files import GREY
from tests.torture.small_service import small_service

ROOT = Path(__file__).parents[3]

# What httpx and numpy need, and nothing else of this environment.
DEPENDENCIES = (
    "httpx",
    "httpcore",
    "h11",
    "anyio",
    "sniffio",
    "idna",
    "certifi",
    "numpy",
    "numpy.libs",
    "typing_extensions.py",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages: the client from its wheel, and links to httpx and numpy."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*command, str(ROOT / "app/client")], check=True, cwd=folder, capture_output=True, text=True)
    spec = find_spec("numpy")
    assert spec
    assert spec.origin
    packages = Path(spec.origin).parents[1]
    for name in DEPENDENCIES:
        if (packages / name).exists():
            (folder / name).symlink_to(packages / name)
    return folder


PROGRAM = """
import sys
sys.path[:] = [path for path in sys.path if "site-packages" not in path] + [sys.argv[1]]
import numpy as np
from unet_segmentation_client import Client, ServiceError
grey = np.load(sys.argv[3])
with Client(sys.argv[2]) as client:
    mask = client.segment(grey)
    stack = client.segment_stack(np.stack([grey, 255 - grey]))
    probability = client.segment(grey, "probability")
    features = client.segment(grey, "geojson")["features"]
    try:
        client.segment(b"no image")
    except ServiceError as error:
        assert error.status == 400
    print(client.model()["name"])
assert probability.dtype == np.float32 and probability.shape == grey.shape and features is not None
assert not {"cv2", "PIL", "torch", "tifffile", "app", "model"} & {name.partition(".")[0] for name in sys.modules}
np.save(sys.argv[3], np.concatenate([mask[None], stack]))
"""


def test_the_wheel_needs_only_httpx_and_numpy(site: Path, tmp_path: Path):
    np.save(tmp_path / "grey.npy", GREY)
    with small_service(engine="torch") as server:
        arguments = [str(site), f"http://127.0.0.1:{server.port}", str(tmp_path / "grey.npy")]
        command = [sys.executable, "-S", "-c", PROGRAM, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        expected = [decode_image(server.mask(encode_png(grey))) for grey in (GREY, GREY, 255 - GREY)]
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "small-net"
    assert np.array_equal(np.load(tmp_path / "grey.npy"), expected)


def test_a_stack_without_tifffile_says_what_to_install(site: Path):
    program = """
import sys
sys.path[:] = [path for path in sys.path if "site-packages" not in path] + [sys.argv[1]]
import httpx
from unet_segmentation_client.exchange import read_result
try:
    read_result(httpx.Response(200, content=b"II*"), "mask")
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-S", "-c", program, str(site)], capture_output=True, text=True, check=True)
    assert "install both, or send the pages as arrays with segment_stack" in done.stdout


def test_the_names_in_the_wheel_collide_with_nothing(site: Path):
    assert {path.name.partition("-")[0] for path in site.iterdir() if not path.is_symlink()} == {
        "unet_segmentation_client"
    }
    assert (site / "unet_segmentation_client/py.typed").exists()
