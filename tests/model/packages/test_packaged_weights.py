import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from model.engines.choice import choose
from model.engines.engine import EngineError
from model.engines.graph_weights import load_any
from model.errors import WeightsError
from model.inputs.card import Card
from model.packages.packaged_weights import load_package
from model.segmenter import ImageRefused, Segmenter
from model.weights_file import load_weights
from tests.support.packages import (
    InOtherAxes,
    describe,
    foreign_net,
    onnx,
    tensor_in,
    tensor_out,
    torchscript,
    write_package,
)


def _expected(net, image):
    """The net's own result for a z-scored image, K x H x W; its sides are multiples of 16."""
    x = torch.from_numpy(image.astype(np.float32)).reshape(*image.shape[:2], -1).permute(2, 0, 1)[None]
    with torch.no_grad():
        return net((x - x.mean()) / (x.std(correction=0) + 1e-6)).numpy()[0]


@pytest.mark.parametrize("file_format", ["onnx", "torchscript"])
def test_probabilities_are_those_of_the_net(tmp_path, net, onnx_file, script_file, make_image, file_format):
    data = {"onnx": onnx_file, "torchscript": script_file}[file_format]
    path = write_package(tmp_path / "a.zip", describe(), **{file_format: data})
    image = make_image(208, 272)
    for tile in (1600, 96):
        segmenter = Segmenter.load(path, tile=tile)
        assert np.allclose(segmenter.probabilities(image), _expected(net, image), atol=1e-5)
        assert len(segmenter.task(image).tiles) == (1 if tile == 1600 else 12)
    assert segmenter.engine.name == ("openvino" if file_format == "onnx" else "torch")


def test_tiled_equals_whole_at_any_size(packed, make_image):
    path = packed()
    for shape in [(1, 1), (7, 300), (201, 203)]:
        image = make_image(*shape)
        whole, tiled = (Segmenter.load(path, tile=tile).probabilities(image) for tile in (320, 96))
        assert whole.shape == (1, *shape)
        assert np.allclose(whole, tiled, atol=1e-5)


@pytest.mark.parametrize("axes", ["byxc", "bxyc", "bcxy"])
@pytest.mark.parametrize("file_format", ["onnx", "torchscript"])
def test_axes_may_be_in_any_order(tmp_path, net, make_image, axes, file_format):
    shape = tuple({"b": 1, "c": 1, "y": 64, "x": 80}[axis] for axis in axes)
    other = InOtherAxes(net, axes)
    data = onnx(other, shape, axes) if file_format == "onnx" else torchscript(other, shape)
    free = {"min": [1 if axis in "bc" else 64 for axis in axes], "step": [0 if axis in "bc" else 16 for axis in axes]}
    reference = {"reference_tensor": "input0", "scale": [1.0] * 4, "offset": [0.0] * 4}
    description = describe([tensor_in(axes=axes, shape=free)], [tensor_out(axes=axes, shape=reference)])
    path = write_package(tmp_path / "a.zip", description, **{file_format: data})
    image = make_image(160, 96)
    assert np.allclose(Segmenter.load(path, tile=96).probabilities(image), _expected(net, image), atol=1e-5)


def test_a_net_of_one_size_computes_larger_images_in_tiles(tmp_path, net, script_file, make_image):
    description = describe([tensor_in(shape=[1, 1, 128, 128])], [tensor_out(shape=[1, 1, 128, 128])])
    segmenter = Segmenter.load(write_package(tmp_path / "a.zip", description, torchscript=script_file))
    assert {tile.shape for tile in segmenter.task(make_image(300, 400)).tiles} <= {(128, 128), (128, 96), (96, 128)}
    image = make_image(256, 256)
    inner = np.s_[:, 32:-32, 32:-32]
    assert np.allclose(segmenter.probabilities(image)[inner], _expected(net, image)[inner], atol=1e-5)


def test_a_net_that_sees_the_whole_image_is_not_tiled(tmp_path, make_image):
    net = foreign_net(norm="instance")
    path = write_package(tmp_path / "a.zip", describe(), torchscript=torchscript(net))
    segmenter = Segmenter.load(path, tile=160)
    image = make_image(160, 144)
    assert np.allclose(segmenter.probabilities(image), _expected(net, image), atol=1e-5)
    with pytest.raises(
        ImageRefused, match=r"at most 160 x 160 pixels \(SEGMENT_TILE, --tile\); the image has 60 x 170"
    ):
        segmenter.probabilities(make_image(170, 60))


def test_the_description_shows_where_the_net_is_from(packed):
    path = packed()
    weights = load_package(path)
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.label == f"quiet-otter@{weights.sha256[:12]}"
    assert weights.description.card == Card(segments="Segments nuclei.")
    package: Any = weights.description.provenance["package"]
    assert package["authors"] == [{"name": "Ada L."}]
    assert package["cite"] == [{"text": "data", "doi": "10.1234/abc"}]
    assert (package["license"], package["weights"]) == ("CC-BY-4.0", ["torchscript"])


def test_of_two_channels_without_names_the_first_is_served(tmp_path, make_image):
    net = foreign_net(outputs=2)
    path = write_package(tmp_path / "a.zip", describe(outputs=[tensor_out(2)]), torchscript=torchscript(net))
    image = make_image(96, 96)
    segmenter = Segmenter.load(path)
    assert np.allclose(segmenter.probabilities(image), _expected(net, image)[:1], atol=1e-5)
    package: Any = segmenter.description.provenance["package"]
    assert package["served_channel"] == "channel 0"


def test_a_channel_that_is_named_foreground_is_served(tmp_path):
    space = [{"type": "space", "id": axis, "size": {"min": 64, "step": 16}} for axis in "yx"]
    like = [{"type": "space", "id": axis, "size": {"tensor_id": "a", "axis_id": axis}, "halo": 8} for axis in "yx"]
    names = ["boundaries", "cells", "seeds"]
    description = describe(
        [{"id": "a", "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["grey"]}, *space]}],
        [{"id": "b", "axes": [{"type": "batch"}, {"type": "channel", "channel_names": names}, *like]}],
        version="0.5.4",
    )
    path = write_package(tmp_path / "a.zip", description, torchscript=torchscript(foreign_net(outputs=3)))
    weights = load_package(path)
    assert (weights.net.output, weights.description.labels) == (1, {0: "background", 255: "cells"})


def test_channels_that_add_up_to_1_are_classes(tmp_path, make_image):
    net = foreign_net(outputs=3, last="softmax")
    path = write_package(tmp_path / "a.zip", describe(outputs=[tensor_out(3)]), torchscript=torchscript(net))
    image = make_image(96, 96)
    assert np.array_equal(Segmenter.load(path).mask(image), _expected(net, image).argmax(axis=0))


def test_logits_need_a_sigmoid_in_the_postprocessing(tmp_path, make_image):
    net = foreign_net(last="none")
    data = torchscript(net)
    with pytest.raises(WeightsError, match=r"outputs: values of .*; accepted: probabilities, or sigmoid"):
        load_package(write_package(tmp_path / "a.zip", describe(), torchscript=data))
    described = describe(outputs=[tensor_out(postprocessing=[{"name": "sigmoid"}])])
    segmenter = Segmenter.load(write_package(tmp_path / "a.zip", described, torchscript=data))
    image = make_image(96, 96)
    assert np.allclose(segmenter.probabilities(image), 1 / (1 + np.exp(-_expected(net, image))), atol=1e-5)


def test_channels_of_unknown_meaning_are_refused(tmp_path):
    data = torchscript(foreign_net(outputs=8))
    path = write_package(tmp_path / "a.zip", describe(outputs=[tensor_out(8)]), torchscript=data)
    with pytest.raises(WeightsError, match=r"outputs: 8 channels \(channel 0, .*\) that are not classes"):
        load_package(path)


def test_formats_that_need_code_are_refused_by_name(tmp_path):
    path = write_package(tmp_path / "a.zip", describe(), pytorch_state_dict=b"", keras_hdf5=b"")
    with pytest.raises(WeightsError, match=r"weights: .*pytorch_state_dict.*; accepted: onnx or torchscript; .* code"):
        load_package(path)


@pytest.mark.parametrize("file_format", ["onnx", "torchscript"])
def test_broken_weights_are_refused(tmp_path, onnx_file, script_file, file_format):
    data = {"onnx": onnx_file, "torchscript": script_file}[file_format]
    for broken in (b"", data[: len(data) // 2], bytes(1000)):
        path = write_package(tmp_path / "a.zip", describe(), **{file_format: broken})
        with pytest.raises(WeightsError, match=f"weights.{file_format}: "):
            load_package(path)


def test_a_net_of_other_channels_than_described_is_refused(tmp_path):
    path = write_package(
        tmp_path / "a.zip", describe(), torchscript=torchscript(foreign_net(channels=3), (1, 3, 64, 64))
    )
    with pytest.raises(WeightsError, match="not a net of the described input"):
        load_package(path)


def test_onnx_is_preferred_and_torch_can_be_asked_for(tmp_path, onnx_file, script_file):
    path = write_package(tmp_path / "a.zip", describe(), onnx=onnx_file, torchscript=script_file)
    weights = load_any(path)
    assert [choose(weights, engine).engine for engine in ("auto", "openvino", "torch")] == [
        "openvino",
        "openvino",
        "torch",
    ]
    assert {choose(weights, engine).precision for engine in ("auto", "torch")} == {"fp32"}


def test_an_engine_that_a_package_has_no_format_for_is_named(tmp_path, onnx_file, script_file):
    only_onnx = load_any(write_package(tmp_path / "a.zip", describe(), onnx=onnx_file))
    only_script = load_any(write_package(tmp_path / "b.zip", describe(), torchscript=script_file))
    with pytest.raises(EngineError, match="has only ONNX"):
        choose(only_onnx, "torch")
    with pytest.raises(EngineError, match="this package has none"):
        choose(only_script, "openvino")
    with pytest.raises(EngineError, match="runs in fp32"):
        choose(only_script, precision="bf16")
    with pytest.raises(EngineError, match="int8 takes weights"):
        choose(only_script, precision="int8")


def test_training_refuses_the_net_of_a_package(packed):
    with pytest.raises(WeightsError, match=r"a package without weights\.safetensors"):
        load_weights(packed())


def test_fractions_are_refused_by_a_net_of_stored_numbers(packed, make_image):
    segmenter = Segmenter.load(packed(inputs=[tensor_in(data_range=None, data_type="float32", preprocessing=[])]))
    segmenter.mask(make_image(64, 64, dtype=np.uint16))
    with pytest.raises(ImageRefused, match="stored numbers of 8 or 16 bits"):
        segmenter.mask(np.zeros((64, 64), np.float32))
