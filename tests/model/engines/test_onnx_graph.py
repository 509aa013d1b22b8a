import os

import numpy as np
import onnx as onnx_package
import pytest

from model.engines.onnx_graph import passing_graph, read_onnx
from model.errors import UserError
from model.packages.packaged_file import PackagedFile
from tests.support.packages import described_net, foreign_net, onnx

NET = described_net()


@pytest.fixture(scope="module")
def outsourced(tmp_path_factory):
    """An ONNX file whose tensors are in another file: the bytes of both."""
    folder = tmp_path_factory.mktemp("onnx")
    model = onnx_package.load_from_string(onnx(foreign_net()))
    onnx_package.save(model, folder / "net.onnx", save_as_external_data=True, location="tensors.data", size_threshold=0)
    return (folder / "net.onnx").read_bytes(), (folder / "tensors.data").read_bytes()


def test_tensors_in_the_described_file_are_read(outsourced):
    net, tensors = outsourced
    run, _ = PackagedFile("onnx", net, ("folder/tensors.data", tensors)).runs(NET)
    whole, _ = PackagedFile("onnx", onnx(foreign_net())).runs(NET)
    image = np.random.default_rng(0).random((1, 1, 64, 64), np.float32)
    assert np.array_equal(run(image), whole(image))


def test_tensors_in_files_of_the_server_are_not_read(outsourced, tmp_path, monkeypatch):
    net, tensors = outsourced
    (tmp_path / "tensors.data").write_bytes(tensors)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="OpenVINO does not take the net"):
        PackagedFile("onnx", net).runs(NET)
    elsewhere = net.replace(b"tensors.data", b"/etc/passwd\x00"[:12])
    with pytest.raises(UserError, match="OpenVINO does not take the net"):
        PackagedFile("onnx", elsewhere).runs(NET)


def test_nothing_is_left_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    read_onnx(onnx(foreign_net()), NET)
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_operations_that_may_stop_nan_are_not_trusted():
    graph = read_onnx(onnx(foreign_net()), NET)
    assert passing_graph(graph) is not None
    model = onnx_package.load_from_string(onnx(foreign_net()))
    half = onnx_package.numpy_helper.from_array(np.array([0.5], np.float32), "half")
    model.graph.initializer.append(half)
    last = model.graph.node[-1]
    last.output[0] = "before"
    model.graph.node.append(onnx_package.helper.make_node("Max", ["before", "half"], ["output0"]))
    assert passing_graph(read_onnx(model.SerializeToString(), NET)) is None
