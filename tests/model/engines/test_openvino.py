import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from model.engines.engine import EngineError
from model.engines.openvino import OpenVinoEngine, choose_precision, to_graph
from model.engines.pytorch import TorchEngine
from model.engines.tta import TTAEngine
from model.segmenter import Segmenter
from model.weights_file import Weights

ROOT = Path(__file__).parents[3]

NETS: dict[str, dict[str, Any]] = {
    "one class": {},
    "transposed": {"upsampling": "transposed", "conv_bias": True},
    "several classes and channels": {"classes": 3, "in_channels": 4},
    "double bottleneck": {"bottleneck": "double", "depth": 3},
    "halved middle": {"halve_middle": True, "depth": 2},
    "half scale": {"downsampling": 2, "depth": 3},
    "quarter scale, several classes": {"downsampling": 4, "depth": 2, "classes": 3, "upsampling": "transposed"},
}
KEPT = [None, ((0, 64), (0, 96)), ((16, 64), (0, 40)), ((20, 23), (31, 70)), ((0, 1), (95, 96))]


def batch_of(n: int, channels: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, channels, height, width), np.float32)


def engine_of(net, precision="fp32"):
    return OpenVinoEngine(to_graph(net), precision)


@pytest.mark.parametrize("kind", NETS)
def test_openvino_gives_torchs_probabilities_for_any_kept_part(make_net, kind):
    net = make_net(**NETS[kind])
    torch_engine, engine = TorchEngine(net, "cpu", "fp32"), engine_of(net)
    batch = batch_of(2, net.config.in_channels, 64, 96)
    for kept in KEPT:
        expected, result = torch_engine.run(batch, kept), engine.run(batch, kept)
        assert result.shape == expected.shape
        assert result.dtype == np.float32
        assert np.abs(result - expected).max() < 1e-5


def test_one_engine_takes_batches_of_any_shape(make_net):
    net = make_net()
    engine, torch_engine = engine_of(net), TorchEngine(net, "cpu", "fp32")
    for shape in [(1, 1, 16, 16), (3, 1, 32, 16), (1, 1, 160, 48), (1, 1, 16, 16)]:
        batch = batch_of(*shape)
        assert np.abs(engine.run(batch) - torch_engine.run(batch)).max() < 1e-5


def test_the_batch_is_left_as_it_was_and_the_result_is_its_own_memory(make_net):
    engine, batch = engine_of(make_net()), batch_of(2, 1, 32, 32)
    before = batch.copy()
    first = engine.run(batch)
    kept = first.copy()
    engine.run(1 - batch)
    assert np.array_equal(batch, before)
    assert np.array_equal(first, kept)
    assert first.flags.writeable


def test_a_view_that_is_not_contiguous_is_taken(make_net):
    engine, batch = engine_of(make_net()), batch_of(1, 1, 48, 32)
    assert np.array_equal(engine.run(batch.swapaxes(-1, -2)), engine.run(batch.swapaxes(-1, -2).copy()))


def test_threads_may_share_an_engine(make_net):
    engine = engine_of(make_net())
    batches = [batch_of(1, 1, 32, 32) * scale for scale in np.linspace(0, 1, 12, dtype=np.float32)]
    expected = [engine.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(engine.run, batches))
    assert all(np.array_equal(one, other) for one, other in zip(results, expected, strict=True))


@pytest.mark.parametrize(
    "settings",
    [{}, {"upsampling": "transposed"}, {"depth": 1, "downsampling": 2}],
    ids=str,
)
@pytest.mark.parametrize("tta", [1, 8])
def test_tiles_make_no_difference(make_net, make_image, describe, settings, tta):
    net, image = make_net(**({"depth": 2} | settings)), make_image(131, 170)
    weights, engine = Weights(describe(net), "0" * 64, net.state_dict()), engine_of(net)
    tiled, whole = (Segmenter(weights, engine, tile=tile, tta=tta) for tile in (64, 1024))
    assert len(tiled.task(image).tiles) > 1
    assert np.abs(tiled.probabilities(image) - whole.probabilities(image)).max() < 1e-5


def test_views_are_averaged_over_it_too(make_net):
    net, batch = make_net(depth=2), batch_of(1, 1, 37, 50)
    one, other = (TTAEngine(engine, 8, 4).run(batch) for engine in (engine_of(net), TorchEngine(net, "cpu", "fp32")))
    assert np.abs(one - other).max() < 1e-5


def test_bf16_gives_almost_the_same_probabilities(make_net):
    net, batch = make_net(), batch_of(1, 1, 48, 48)
    full, half = (engine_of(net, precision).run(batch) for precision in ("fp32", "bf16"))
    assert np.abs(half - full).max() < 0.2


def test_an_openvino_engine_names_device_and_precision(make_net):
    engine = engine_of(make_net(), "bf16")
    assert (engine.name, engine.device, engine.precision) == ("openvino", "cpu", "bf16")


@pytest.mark.parametrize("precision", ["fp16", "int8", ""])
def test_a_precision_it_has_not_is_refused(precision):
    with pytest.raises(EngineError, match=rf"precision '{precision}' .*auto, fp32, bf16"):
        choose_precision(precision)


def test_conversions_leave_no_memory_behind(make_net):
    """Each would leave the net's 3 MB if torch.jit kept them."""
    net, process, resident = make_net(width=16, depth=4), psutil.Process(), []
    for _ in range(8):
        to_graph(net)
        resident.append(process.memory_info().rss)
    assert min(resident[6:]) - min(resident[2:4]) < 2 * sum(4 * tensor.numel() for tensor in net.parameters())


def test_openvino_sends_no_telemetry_on_import():
    code = "import model.engines.openvino, sys; print(sorted(m for m in sys.modules if 'telemetry' in m))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "openvino_telemetry." not in found
    assert "telemetry_stub" in found


def test_a_signal_finds_its_stack_after_engines_have_come_and_gone():
    """In a process of its own, which a signal without a stack would end."""
    script = """
import os, signal
from model.segmenter import Segmenter
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
first = Segmenter.load(engine="openvino", precision="fp32")
second = Segmenter.load(engine="openvino", precision="fp32")
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
