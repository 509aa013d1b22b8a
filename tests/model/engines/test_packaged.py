import numpy as np
import pytest

from model.engines.packaged import PackagedEngine
from model.engines.scripted import ScriptEngine, load_script
from tests.support.packages import described_net, foreign_net, torchscript


@pytest.fixture
def engine():
    net = described_net()
    return PackagedEngine(ScriptEngine(load_script(torchscript(foreign_net())), net), net)


def test_tiles_are_computed_one_after_another(engine):
    tiles = np.random.default_rng(0).random((3, 1, 64, 80), np.float32)
    assert np.array_equal(engine.run(tiles), np.concatenate([engine.run(tile[None]) for tile in tiles]))
    assert engine.batch_pixels == 1


def test_small_tiles_are_padded_by_their_edges(engine):
    tile = np.random.default_rng(0).random((1, 1, 50, 70), np.float32)
    padded = np.pad(tile, ((0, 0), (0, 0), (0, 14), (0, 10)), mode="edge")
    assert np.array_equal(engine.run(tile), engine.run(padded)[..., :50, :70])


def test_only_the_kept_rows_and_columns_are_returned(engine):
    tile = np.random.default_rng(0).random((1, 1, 64, 64), np.float32)
    assert np.array_equal(engine.run(tile, ((3, 20), (10, 64))), engine.run(tile)[..., 3:20, 10:])
