import numpy as np
import pytest

from model.inputs.preprocessing import Pixels
from training.data.folder import Sample
from training.scoring.distortions import DISTORTIONS


def _sample(dtype: type, channels: int) -> Sample:
    rng = np.random.default_rng(0)
    shape = (40, 60, channels) if channels > 1 else (40, 60)
    full = 1 if dtype is np.float32 else np.iinfo(dtype).max
    pixels: Pixels = (rng.random(shape) * full).astype(dtype)
    return Sample("one", pixels, rng.integers(0, 3, (40, 60), np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("kind", DISTORTIONS)
def test_type_and_fit_of_image_and_label_are_kept(kind, dtype, channels):
    sample = _sample(dtype, channels)
    changed = DISTORTIONS[kind](sample)
    assert changed.pixels.dtype == dtype
    assert len(np.unique(changed.pixels)) > 50
    assert changed.pixels.ndim == sample.pixels.ndim
    assert changed.pixels.shape[:2] == changed.label.shape
    assert changed.label.dtype == np.uint8
    assert set(np.unique(changed.label)) == {0, 1, 2}
    assert changed.name == "one"


def test_each_does_what_it_is_called():
    sample = _sample(np.uint8, 1)
    changed = {kind: distort(sample) for kind, distort in DISTORTIONS.items()}
    mean, spread = sample.pixels.mean(), sample.pixels.std()
    assert changed["brighter"].pixels.mean() > mean + 20
    assert changed["darker"].pixels.mean() < mean / 2
    assert changed["flatter"].pixels.std() < spread / 2
    assert changed["gamma 2"].pixels.mean() < mean
    assert changed["blurred"].pixels.std() < spread / 2
    assert np.abs(changed["noisy"].pixels.astype(int) - sample.pixels).mean() > 10
    assert changed["15% larger"].label.shape == (46, 69)
    assert changed["15% smaller"].label.shape == (34, 51)
    assert changed["a third smaller"].label.shape == (27, 40)
