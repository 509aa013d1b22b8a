from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from app import canary
from app.canary import SIDE, canary_image, run_canary
from model.engines.engine import Array
from model.segmenter import Segmenter
from model.tiles import Window
from model.weights_file import load_weights, save_weights


class OddEngine:
    """An engine whose probabilities are changed before anybody sees them."""

    name, device, precision, batch_pixels, streams = "odd", "cpu", "fp32", SIDE * SIDE, 2
    held_bytes = 0

    def __init__(self, change: Callable[[Array], Array]) -> None:
        self._change = change
        self.runs = 0

    def release_memory(self) -> None:
        """Holds none."""

    def run(self, batch: Array, kept: Window | None = None) -> Array:
        assert kept is not None
        (top, bottom), (left, right) = kept
        self.runs += 1
        return self._change(batch[:, :, top:bottom, left:right].copy())


@pytest.fixture(autouse=True)
def _canary_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "SIDE", SIDE)


def _with(change: Callable[[Array], Array], path: Path, tile: int = SIDE) -> tuple[Segmenter, OddEngine]:
    engine = OddEngine(change)
    return Segmenter(load_weights(path), engine, tile=tile), engine


def test_the_image_is_always_the_same_and_full_of_contrast():
    image = canary_image(3)
    assert image.shape == (SIDE, SIDE, 3)
    assert np.array_equal(image, canary_image(3))
    for part in (image[: SIDE // 2], image[SIDE // 2 :]):
        assert part.std(axis=(0, 1)).min() > 60
        assert np.ptp(part, axis=(0, 1)).min() > 240


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize(
    "net", ["weights_path", "classes_path", "stored_channels_path", "zscore_path", "half_scale_path"]
)
def test_weights_in_order_pass(net: str, engine: str, precision: str, request: pytest.FixtureRequest):
    path = request.getfixturevalue(net)
    run_canary(Segmenter.load(path, engine=engine, device="cpu", precision=precision))


@pytest.mark.parametrize("tile", [SIDE, 256])
def test_every_stream_is_run_and_all_threads_at_once(weights_path: Path, tile: int):
    segmenter, engine = _with(lambda inputs: inputs, weights_path, tile)
    run_canary(segmenter)
    assert engine.runs == len(segmenter.task(canary_image(1)).tiles) * (engine.streams + 1)


def _one_pixel(value: float) -> Callable[[Array], Array]:
    def change(probabilities: Array) -> Array:
        probabilities[0, 0, -1, -1] = value
        return probabilities

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_one_pixel(np.nan), "has probabilities that are not finite"),
        (_one_pixel(np.inf), "has probabilities that are not finite"),
        (_one_pixel(1.01), "has probabilities outside 0..1"),
        (_one_pixel(-0.01), "has probabilities outside 0..1"),
        (lambda found: found[..., :1, :1], "has probabilities of the wrong shape"),
        (lambda found: found.repeat(2, axis=1), "has probabilities of the wrong shape"),
    ],
)
def test_an_engine_result_without_probabilities_is_refused(
    weights_path: Path, change: Callable[[Array], Array], complaint: str
):
    segmenter, _ = _with(change, weights_path)
    with pytest.raises(ValueError, match=f"^weights small-net@[0-9a-f]{{12}}: computed in .*{complaint}$"):
        run_canary(segmenter)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_net_that_sees_no_difference_passes_with_a_warning(
    weights_path: Path, value: float, caplog: pytest.LogCaptureFixture
):
    segmenter, _ = _with(lambda found: np.full_like(found, value), weights_path)
    run_canary(segmenter)
    assert "the same probabilities everywhere" in caplog.text


@pytest.fixture
def overflowing(weights_path: Path, tmp_path: Path) -> Callable[[float], Path]:
    """`overflowing(factor)`: finite weights whose first two layers give numbers larger by its square."""

    def make(factor: float) -> Path:
        path = tmp_path / "small-net.safetensors"
        first_two = ("inc.double_conv.0.weight", "inc.double_conv.3.weight")
        tensors = load_file(weights_path)
        save_weights(
            path,
            tensors | {name: factor * tensors[name] for name in first_two},
            load_weights(weights_path).description,
        )
        return path

    return make


@pytest.mark.parametrize(
    ("factor", "precision", "complaint"),
    [
        (1e5, "fp16", r"in fp16 by torch on cpu.*not finite; SEGMENT_PRECISION=fp32 may do$"),
        (1e30, "fp32", r"in fp32 by torch on cpu.*not finite$"),
    ],
)
def test_finite_weights_that_overflow_are_found_out(
    overflowing: Callable[[float], Path], factor: float, precision: str, complaint: str
):
    weights: dict[str, Any] = {"engine": "torch", "device": "cpu", "precision": precision}
    with pytest.raises(ValueError, match=complaint):
        run_canary(Segmenter.load(overflowing(factor), **weights))


def test_a_net_that_overflows_in_fp16_may_pass_in_fp32(overflowing: Callable[[float], Path]):
    run_canary(Segmenter.load(overflowing(1e5), engine="torch", device="cpu", precision="fp32"))
