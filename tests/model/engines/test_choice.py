import pytest
import torch

from model.engines import choice
from model.engines.choice import Choice, bundled_weights, choose, make_engine
from model.engines.engine import EngineError
from model.engines.graph_weights import GraphWeights, load_any
from model.engines.openvino import to_graph
from model.weights_file import BUNDLED, BUNDLED_INT8, Weights

HALF = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
AUTO = "bf16" if HALF else "fp32"


@pytest.fixture
def weights_of(make_net, describe):
    def make(*, graph=False, **config):
        net = make_net(**config)
        if graph:
            return GraphWeights(describe(net), "0" * 64, to_graph(net))
        return Weights(describe(net), "0" * 64, net.state_dict())

    return make


@pytest.fixture
def no_openvino(monkeypatch):
    monkeypatch.setattr(choice, "find_spec", {}.get)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ("openvino", AUTO)),
        ({"engine": "torch"}, ("torch", AUTO)),
        ({"engine": "torch", "precision": "fp16"}, ("torch", "fp16")),
        ({"precision": "fp32"}, ("openvino", "fp32")),
        ({"precision": "fp16"}, ("torch", "fp16")),
        ({"engine": "openvino", "precision": "bf16"}, ("openvino", "bf16")),
    ],
)
def test_openvino_is_taken_on_a_cpu_for_what_it_has(weights_of, wanted, expected):
    assert choose(weights_of(), **({"device": "cpu"} | wanted)) == Choice(expected[0], "cpu", expected[1])


def test_nets_with_aligned_corners_go_to_torch(weights_of):
    weights = weights_of(upsampling="bilinear_aligned")
    assert choose(weights, device="cpu").engine == "torch"
    with pytest.raises(EngineError, match="openvino engine takes no nets with aligned corners: the torch engine does"):
        choose(weights, engine="openvino", device="cpu")


def test_a_quantised_graph_runs_in_int8_on_openvino():
    weights = load_any(BUNDLED_INT8)
    for wanted in ({}, {"engine": "openvino", "precision": "int8", "device": "cpu"}):
        assert choose(weights, **wanted) == Choice("openvino", "cpu", "int8")
    for precision in ("fp32", "bf16"):
        with pytest.raises(EngineError, match="int8 run only in precision int8"):
            choose(weights, precision=precision)


@pytest.mark.parametrize(("wanted", "precision"), [("auto", AUTO), ("fp32", "fp32"), ("bf16", "bf16")])
def test_another_graph_runs_in_the_precisions_of_openvino(weights_of, wanted, precision):
    assert choose(weights_of(graph=True), precision=wanted) == Choice("openvino", "cpu", precision)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"engine": "torch"}, "run only on the openvino engine"),
        ({"precision": "int8"}, r"training\.export --precision int8"),
        ({"precision": "fp16"}, "'fp16' is not one of"),
    ],
)
def test_a_graph_runs_in_no_other_way(weights_of, wanted, said):
    with pytest.raises(EngineError, match=said):
        choose(weights_of(graph=True), **wanted)


def test_other_weights_do_not_run_in_int8(weights_of):
    with pytest.raises(EngineError, match=r"training\.export --precision int8"):
        choose(weights_of(), precision="int8")


@pytest.mark.usefixtures("no_openvino")
def test_without_openvino_torch_is_taken_and_openvino_refused(weights_of):
    assert choose(weights_of(), device="cpu").engine == "torch"
    assert bundled_weights(device="cpu") == BUNDLED
    for weights in (weights_of(), weights_of(graph=True)):
        with pytest.raises(EngineError, match="needs the package openvino, which is not installed"):
            choose(weights, engine="openvino")


def test_openvino_runs_on_no_other_device(weights_of, monkeypatch):
    monkeypatch.setattr(choice, "choose_device", torch.device)
    assert choose(weights_of(graph=True)).device == "cpu"
    for weights in (weights_of(), weights_of(graph=True)):
        with pytest.raises(EngineError, match="runs only on the cpu, not on mps"):
            choose(weights, engine="openvino", device="mps")


@pytest.mark.parametrize(
    ("wanted", "path"),
    [((), BUNDLED_INT8), (("openvino",), BUNDLED_INT8), (("torch",), BUNDLED), (("auto", "cpu", "fp32"), BUNDLED)],
)
def test_the_bundled_weights_are_those_that_suit(wanted, path, monkeypatch):
    monkeypatch.setattr(choice, "choose_device", lambda _: torch.device("cpu"))
    assert bundled_weights(*wanted) == path


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_the_engine_is_the_one_chosen(weights_of, name):
    engine = make_engine(weights_of(), Choice(name, "cpu", "fp32"))
    assert (engine.name, engine.device, engine.precision) == (name, "cpu", "fp32")
