"""From images with labels of three classes to a service that tells the three apart."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.http import HTTP
from training import synthetic
from training.run import command as run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of 96 x 96, the last of which is held out."""
    folder = tmp_path_factory.mktemp("classes") / "data"
    assert synthetic.main(["--out", str(folder), "--count", "5", "--size", "96", "--classes", "3"]) == 0
    return folder


@pytest.fixture(scope="module")
def weights(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a net that learned them by the command."""
    out = tmp_path_factory.mktemp("run")
    options = ["--classes", "3", "--width", "8", "--steps", "120", "--crop", "64", "--batch", "4", "--workers", "0"]
    assert run.main(["--data", str(data), "--out", str(out), *options, "--learning-rate", "5e-3"]) == 0
    return out / "weights.safetensors"


def test_a_trained_net_of_three_classes_serves_right_class_maps(data, weights, serve):
    url = f"{serve(weights=weights, tile=256).url}/segment"
    labels, masks = [], []
    for path in sorted((data / "image").iterdir()):
        response = HTTP.post(url, files={"file": path.read_bytes()})
        assert response.status_code == 200, response.text
        masks.append(np.array(Image.open(io.BytesIO(response.content))))
        labels.append(np.array(Image.open(data / "label" / path.name)))
    for which in (slice(None), slice(-1, None)):  # all, and the one that was held out
        label, mask = np.stack(labels[which]), np.stack(masks[which])
        for index in range(3):
            right = np.count_nonzero((label == index) & (mask == index))
            assert right > 0.75 * np.count_nonzero(label == index), index
            assert right > 0.75 * np.count_nonzero(mask == index), index
