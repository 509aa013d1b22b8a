import numpy as np
import pytest
import torch

from model.engines.scripted import ScriptEngine, load_script
from model.packages.packaged_file import PackagedFile
from model.packages.reach import measure_reach
from model.unet import UNetConfig
from tests.support.packages import described_net, foreign_net, onnx, torchscript


def _reach(net, described):
    run = ScriptEngine(load_script(torchscript(net)), described).run
    return measure_reach(described, run, run)


@pytest.mark.parametrize("settings", [{}, {"upsampling": "transposed"}, {"depth": 3}])
def test_the_measured_reach_is_within_the_counted_halo(make_net, settings):
    config = {"depth": 2} | settings
    net, config = make_net(**config), UNetConfig(width=4, **config)
    reach = _reach(_OnlyImage(net), described_net(config.stride * 4, config.stride, config.stride))
    assert config.halo - config.stride < reach <= config.halo


class _OnlyImage(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).sigmoid()


@pytest.mark.parametrize("file_format", ["onnx", "torchscript"])
@pytest.mark.parametrize(
    ("options", "reach"),
    [
        ({}, 11),
        ({"norm": "batch", "upsampling": "bilinear"}, 14),
        ({"norm": "instance"}, None),
        ({"upsampling": "aligned"}, None),
    ],
)
def test_both_formats_have_the_same_reach(file_format, options, reach):
    make = onnx if file_format == "onnx" else torchscript
    net = described_net()
    run, passing = PackagedFile(file_format, make(foreign_net(**options))).runs(net)
    assert passing is not None
    assert measure_reach(net, passing, run) == reach


def test_weights_of_zero_do_not_hide_a_dependence():
    net = foreign_net()
    with torch.no_grad():
        next(net.deepest.parameters()).zero_()
    assert _reach(net, described_net()) == 11


def test_a_net_of_one_small_size_is_computed_in_one_tile():
    assert _reach(foreign_net(), described_net(smallest=64, step=0, grid=32)) is None
    assert _reach(foreign_net(), described_net(smallest=128, step=0, grid=32)) == 11


def test_sides_are_padded_to_those_that_the_net_takes():
    free, fixed = described_net(), described_net(step=0)
    assert [free.padded(side) for side in (1, 64, 65, 100)] == [64, 64, 80, 112]
    assert [fixed.padded(side) for side in (1, 64)] == [64, 64]
    assert (free.tile_side(1000), fixed.tile_side(1000)) == (992, 64)
    assert np.array_equal([free.tile_side(1)], [64])
