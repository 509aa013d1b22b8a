"""What an engine's replica does before its first tile; tests/end_to_end/test_ray_serve.py has real replicas."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np

from app.ray_serve import engine_deployment as module
from app.ray_serve.engine_deployment import TileInputTask, largest_tile
from app.ray_serve.messages import Reference
from model.segmenter import ImageTask
from model.weights_file import load_weights


def test_the_largest_tile_is_one_in_the_middle_of_a_large_image(weights_path, make_settings):
    weights, side = load_weights(weights_path), make_settings().tile
    halo = weights.description.architecture.halo
    large = 3 * (side - 2 * halo) + 2 * halo  # what three of the largest windows cover, exactly
    tiles = ImageTask(np.zeros((large, large), np.uint8), weights.description, side).tiles
    piece = largest_tile(weights, side)
    assert (piece.tile.shape, piece.tile.kept) == (tiles[4].shape, tiles[4].kept)
    assert piece.pixels.shape == (*tiles[4].shape, 1)


def test_a_replica_that_is_ready_has_computed_one(weights_path, make_settings, monkeypatch):
    computed = []

    class Seen(TileInputTask):
        def paste(self, tile, finished):
            computed.append((tile.shape, finished.shape, np.isfinite(finished).all()))

    monkeypatch.setattr(module, "TileInputTask", Seen)
    settings, weights = make_settings(), load_weights(weights_path)
    monkeypatch.setattr(module, "load_settings", lambda: settings)
    monkeypatch.setattr(module, "configure_logs", lambda _level: None)  # for all tests that follow
    monkeypatch.setattr("ray.serve.get_replica_context", lambda: SimpleNamespace(replica_tag="a"))
    deployment: Any = module.EngineDeployment
    replica = deployment.func_or_class()
    served = asyncio.run(replica.find(None))
    assert [each.reference for each in served] == [Reference(str(weights_path), weights.sha256)]
    side, core = settings.tile, settings.tile - 2 * weights.description.architecture.halo
    assert computed == [((side, side), (1, core, core), True)]
