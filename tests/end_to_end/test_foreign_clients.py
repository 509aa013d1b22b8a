"""HTTP clients of other projects, with their defaults, get the mask."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.images.decoding import decode_image
from model.inputs.preprocessing import Pixels
from model.segmenter import Segmenter

CLIENTS = Path(__file__).parent / "clients"
CURL = ("curl", "--silent", "--show-error", "--fail-with-body")

# What is run with the address, the file of the image and the file for the mask.
COMMANDS = {
    "Java's HttpClient": ("java", str(CLIENTS / "Post.java")),
    "node's fetch": ("node", str(CLIENTS / "post.mjs")),
    "Python's requests": (sys.executable, str(CLIENTS / "post_requests.py")),
    "curl": ("sh", "-c", f"{' '.join(CURL)} -F file=@$1 -o $2 $0"),
    "curl --http2": ("sh", "-c", f"{' '.join(CURL)} --http2 -F file=@$1 -o $2 $0"),
    "curl, as the body": (
        *("sh", "-c"),
        f"{' '.join(CURL)} --http2 -H 'Content-Type: image/png' --data-binary @$1 -o $2 $0",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_client_with_its_defaults_gets_the_mask(
    server: Any, segmenter: Segmenter, pixels: Pixels, png: bytes, tmp_path: Path, name: str
):
    program, *arguments = COMMANDS[name]
    found = shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"needs {program}")
    (tmp_path / "image.png").write_bytes(png)
    command = [found, *arguments, f"{server.url}/segment", str(tmp_path / "image.png"), str(tmp_path / "mask.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert np.array_equal(decode_image((tmp_path / "mask.png").read_bytes()), segmenter.mask(pixels))
