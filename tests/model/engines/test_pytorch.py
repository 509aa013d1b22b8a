import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from model.engines.engine import EngineError
from model.engines.pytorch import TorchEngine, choose_device, choose_precision, to_probabilities

CPU = torch.device("cpu")


def batch_of(n: int, channels: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, channels, height, width), np.float32)


def test_one_class_gives_the_sigmoid_of_the_logits(make_net):
    net, batch = make_net(in_channels=2), batch_of(3, 2, 32, 48)
    with torch.inference_mode():
        expected = torch.sigmoid(net(torch.from_numpy(batch))).numpy()
    result = TorchEngine(net, "cpu", "fp32").run(batch)
    assert result.shape == (3, 1, 32, 48)
    assert result.dtype == np.float32
    assert np.abs(result - expected).max() < 1e-5


def test_several_classes_give_the_softmax_of_the_logits(make_net):
    net, batch = make_net(classes=4), batch_of(2, 1, 32, 48)
    with torch.inference_mode():
        expected = torch.softmax(net(torch.from_numpy(batch)), dim=1).numpy()
    result = TorchEngine(net, "cpu", "fp32").run(batch)
    assert result.shape == (2, 4, 32, 48)
    assert np.abs(result - expected).max() < 1e-5
    assert np.abs(result.sum(axis=1) - 1).max() < 1e-5


def test_a_net_with_aligned_corners_keeps_the_original_summation_order(make_net):
    net, batch = make_net(width=16, upsampling="bilinear_aligned", conv_bias=True), batch_of(1, 1, 64, 80)
    with torch.inference_mode():
        expected = torch.sigmoid(net(torch.from_numpy(batch))).numpy()
    assert np.array_equal(TorchEngine(net, "cpu", "fp32").run(batch), expected)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("classes", [1, 3])
def test_half_the_bits_give_almost_the_same_probabilities(make_net, precision, classes):
    batch = batch_of(1, 1, 48, 48)
    full, half = (TorchEngine(make_net(classes=classes), "cpu", one).run(batch) for one in ("fp32", precision))
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).mean() < 0.02
    assert np.abs(half - full).max() < 0.2


def test_the_batch_is_left_as_it_was_and_the_result_is_its_own_memory(make_net):
    engine, batch = TorchEngine(make_net(), "cpu", "fp32"), batch_of(2, 1, 32, 32)
    before = batch.copy()
    first = engine.run(batch)
    kept = first.copy()
    engine.run(1 - batch)
    assert np.array_equal(batch, before)
    assert np.array_equal(first, kept)
    assert first.flags.c_contiguous
    assert first.flags.writeable


def test_a_net_fresh_from_training_is_run_in_evaluation_mode(make_net):
    batch = batch_of(2, 1, 32, 32)
    expected = TorchEngine(make_net(), "cpu", "fp32").run(batch)
    assert np.array_equal(TorchEngine(make_net().train(), "cpu", "fp32").run(batch), expected)


def test_threads_may_share_an_engine(make_net):
    engine = TorchEngine(make_net(), "cpu", "fp32")
    batches = [batch_of(1, 1, 32, 32) * scale for scale in np.linspace(0, 1, 12, dtype=np.float32)]
    expected = [engine.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(engine.run, batches))
    assert all(np.array_equal(one, other) for one, other in zip(results, expected, strict=True))


def test_an_engine_says_what_it_runs_on(make_net):
    engine = TorchEngine(make_net(), "cpu", "bf16")
    assert (engine.name, engine.device, engine.precision) == ("torch", "cpu", "bf16")


def test_auto_finds_a_device_and_a_precision_that_work(make_net):
    engine = TorchEngine(make_net())
    assert engine.precision in {"fp32", "bf16"}
    assert engine.run(batch_of(1, 1, 16, 16)).shape == (1, 1, 16, 16)


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "CPU", "", "cpu:0"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(device):
    with pytest.raises(EngineError, match=rf"device '{device}' is not available here; available: .*cpu"):
        choose_device(device)


@pytest.mark.parametrize("precision", ["int8", "fp64", "BF16", ""])
def test_an_unknown_precision_is_refused_with_the_known_ones(precision):
    with pytest.raises(EngineError, match=rf"precision '{precision}' .*auto, fp32, bf16, fp16"):
        choose_precision(CPU, precision)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_precision_asked_for_is_given(precision):
    assert choose_precision(CPU, precision) == precision


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 0.2), ("fp16", 0.2)])
def test_a_gpu_gives_the_cpus_probabilities(make_net, precision, tolerance):
    batch = batch_of(2, 1, 64, 64)
    expected = TorchEngine(make_net(), "cpu", "fp32").run(batch)
    engine = TorchEngine(make_net(), "cuda", precision)
    assert engine.device.startswith("cuda")
    assert np.abs(engine.run(batch) - expected).max() < tolerance


@pytest.mark.parametrize("logit", [0.5, 0.0, -1.5, 3.0])
def test_probabilities_reach_the_threshold_just_where_logits_do(logit):
    threshold = 1 / (1 + math.exp(-logit))
    at = np.float32(logit)
    steps = [at]
    for _ in range(20):
        steps = [np.nextafter(steps[0], np.float32(-9)), *steps, np.nextafter(steps[-1], np.float32(9))]
    logits = torch.tensor(np.array(steps)).reshape(1, 1, 1, -1)
    p = to_probabilities(logits, threshold).flatten()
    assert (p >= np.float32(threshold)).tolist() == [False] * 20 + [True] * 21
    assert torch.allclose(p, logits.sigmoid().flatten(), rtol=0, atol=1.2e-7)
